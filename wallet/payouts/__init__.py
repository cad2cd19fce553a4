"""Payouts: rails to banks, the simulated bank behind them, and what it says against our books."""

from wallet.payouts.rails import BankAnswer, BankSilent, PayoutOrder, Rail, StatementLine
from wallet.payouts.simbank import SimulatedBank
from wallet.payouts.statement import Incoming, StatementReader, seed_house

__all__ = [
    "BankAnswer",
    "BankSilent",
    "Incoming",
    "PayoutOrder",
    "Rail",
    "SimulatedBank",
    "StatementLine",
    "StatementReader",
    "seed_house",
]

"""Payouts: rails to banks, the simulated bank behind them, and what it says against our books."""

from wallet.payouts.rails import BankAnswer, BankSilent, PayoutOrder, Rail, StatementLine
from wallet.payouts.simbank import SimulatedBank
from wallet.payouts.statement import IncomingTransfer, StatementReader, bank_credit, seed_house

__all__ = [
    "BankAnswer",
    "BankSilent",
    "IncomingTransfer",
    "PayoutOrder",
    "Rail",
    "SimulatedBank",
    "StatementLine",
    "StatementReader",
    "bank_credit",
    "seed_house",
]

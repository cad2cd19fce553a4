"""What arrives on chain: scanned block by block, credited once it is final."""

from wallet.deposits.scanner import Scanner
from wallet.deposits.service import (
    Deposit,
    Holding,
    get,
    holdings,
    of_transaction,
    page,
    pending,
)
from wallet.deposits.surplus import SurplusFinder

__all__ = [
    "Deposit",
    "Holding",
    "Scanner",
    "SurplusFinder",
    "get",
    "holdings",
    "of_transaction",
    "page",
    "pending",
]

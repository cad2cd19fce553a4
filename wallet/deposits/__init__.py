"""What arrives on chain: scanned block by block, credited once it is final."""

from wallet.deposits.scanner import Scanner
from wallet.deposits.service import Deposit, get, page, pending

__all__ = ["Deposit", "Scanner", "get", "page", "pending"]

"""Money from one person here to another: instant, free, final, one entry."""

from wallet.transfers.service import SelfTransfer, Transfer, create, get, page

__all__ = ["SelfTransfer", "Transfer", "create", "get", "page"]

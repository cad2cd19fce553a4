"""Money from one person here to another: instant, free, final, one entry."""

from wallet.transfers.service import Flow, Transfer, Wanted, create, get, page

__all__ = ["Flow", "Transfer", "Wanted", "create", "get", "page"]

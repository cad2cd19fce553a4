"""Refusals of withdrawals."""

from __future__ import annotations

from wallet.errors import WalletError


class MaxFeeTooLow(WalletError):
    """The most the caller would pay does not get the transaction into a block; see `extra`."""

    code = "max_fee_too_low"

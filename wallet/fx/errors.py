"""Refusals of the exchange."""

from __future__ import annotations

from wallet.errors import WalletError


class RateStale(WalletError):
    """There is no rate fresh enough to promise anything by."""

    code = "rate_stale"
    retryable = True


class AmountOutsideLimit(WalletError):
    """Too little or too much for one quote; `extra` has `min` and `max` as money."""

    code = "amount_outside_limit"


class LiquidityUnavailable(WalletError):
    """The house cannot take this trade now: its position or its bank account is at the limit, or
    the auditor holds back what it would pay out."""

    code = "liquidity_unavailable"
    retryable = True


class QuoteExpired(WalletError):
    """The quote's time is over; ask for a new one."""

    code = "quote_expired"


class QuoteUsed(WalletError):
    """A quote is used once."""

    code = "quote_used"

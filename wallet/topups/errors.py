"""Refusals of top-ups and cards."""

from __future__ import annotations

from wallet.errors import WalletError


class CardNotUsable(WalletError):
    """The gateway does not know this token, or somebody else has bound it."""

    code = "card_not_usable"


class CardNumberRefused(WalletError):
    """A card's number came where a token belongs. It is not kept anywhere."""

    code = "card_number_refused"


class TooManyPending(WalletError):
    """So many top-ups of this person have not ended; `extra["max"]` says how many may wait."""

    code = "too_many_pending"


class GatewayUnavailable(WalletError):
    """The gateway does not answer; nothing was bound and nothing was moved."""

    code = "gateway_unavailable"
    retryable = True

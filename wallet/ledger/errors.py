"""Refusals of the books, one class a code that `ledger_post` answers."""

from __future__ import annotations

from wallet.errors import WalletError


class LedgerError(WalletError):
    """The books refused a command; nothing of it was written."""

    code = "ledger_refused"


class InsufficientFunds(LedgerError):
    """The available balance does not cover it."""

    code = "insufficient_funds"


class AccountFrozen(LedgerError):
    """The account takes money in and lets none out."""

    code = "account_frozen"


class AccountClosed(LedgerError):
    """The account takes part in nothing any more."""

    code = "account_closed"


class AssetMismatch(LedgerError):
    """A posting's asset is not its account's asset."""

    code = "asset_mismatch"


class Unbalanced(LedgerError):
    """The postings of an entry do not sum to zero for each asset."""

    code = "unbalanced"


class AlreadyReversed(LedgerError):
    """An entry is reversed at most once."""

    code = "already_reversed"


class HoldClosed(LedgerError):
    """The hold is captured, voided or expired already."""

    code = "hold_closed"


class HoldExceeded(LedgerError):
    """More than what the hold still keeps."""

    code = "hold_exceeded"


class HoldExpired(LedgerError):
    """Its time is over: what it keeps goes back."""

    code = "hold_expired"


class HoldMoved(LedgerError):
    """Somebody took from the hold since it was read: read it again."""

    code = "hold_moved"


BY_CODE: dict[str, type[LedgerError]] = {
    cls.code: cls
    for cls in (
        InsufficientFunds,
        AccountFrozen,
        AccountClosed,
        AssetMismatch,
        Unbalanced,
        AlreadyReversed,
        HoldClosed,
        HoldExceeded,
        HoldExpired,
        HoldMoved,
    )
}

TEXT: dict[str, str] = {
    "insufficient_funds": "The available balance does not cover this.",
    "account_frozen": "Outgoing money is frozen on this account.",
    "account_closed": "This account is closed.",
    "asset_mismatch": "The asset does not match the account.",
    "unbalanced": "The entry does not sum to zero.",
    "already_reversed": "This entry has been reversed already.",
    "hold_closed": "This hold has ended.",
    "hold_exceeded": "This is more than the hold keeps.",
    "hold_expired": "The time of this hold is over.",
    "hold_moved": "This hold has just changed; try again.",
    "rate_limited": "Too many of these are open: let one end, or give it back.",
}

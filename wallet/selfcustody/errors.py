"""Refusals about people's own accounts."""

from __future__ import annotations

from wallet.errors import WalletError


class SelfCustodyAway(WalletError):
    """The signer does not serve own accounts now."""

    code = "self_custody_unavailable"


class TooManyAccounts(WalletError):
    """One person keeps more own accounts than are allowed."""

    code = "too_many_accounts"


class AccountKnown(WalletError):
    """The person has this account already."""

    code = "account_known"


class SendOpen(WalletError):
    """An earlier payment of this account on this network has not ended."""

    code = "send_in_progress"

"""Refusals about watching."""

from __future__ import annotations

from wallet.errors import WalletError


class SecretRefused(WalletError):
    """Somebody gave a private key, an extended private key or a phrase. Never repeats it."""

    code = "secret_refused"

    def __init__(self, field: str) -> None:
        super().__init__(
            "This looks like a private key or a recovery phrase. It was not stored. Consider it"
            " compromised: move what it holds to a new wallet. Only an address or an xpub can be"
            " watched.",
            field=field,
        )


class AddressIsOurs(WalletError):
    """A deposit address or one of the house's: what arrives there is in somebody's balances."""

    code = "address_is_ours"


class AlreadyWatched(WalletError):
    """The person watches this address or key already; `extra["id"]` names it."""

    code = "already_watched"


class TooManyWatched(WalletError):
    """The person's limit of watched addresses and keys."""

    code = "too_many_watched"

"""What people look at without holding it here: addresses and extended public keys of theirs."""

from wallet.watch.errors import AddressIsOurs, AlreadyWatched, SecretRefused, TooManyWatched
from wallet.watch.reader import TICK_SECONDS, BalanceReader
from wallet.watch.service import (
    MAX_LABEL,
    MAX_WATCHED,
    WatchDraft,
    add,
    get,
    page,
    refuse_secrets,
    remove,
)
from wallet.watch.views import Held, Watched, WatchedAddress, details, overview

__all__ = [
    "MAX_LABEL",
    "MAX_WATCHED",
    "TICK_SECONDS",
    "AddressIsOurs",
    "AlreadyWatched",
    "BalanceReader",
    "Held",
    "SecretRefused",
    "TooManyWatched",
    "WatchDraft",
    "Watched",
    "WatchedAddress",
    "add",
    "details",
    "get",
    "overview",
    "page",
    "refuse_secrets",
    "remove",
]

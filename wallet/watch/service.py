"""Import, list and remove what a person watches.

What is watched is not held here: it is in no balance, no limit and no total of the books.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from chain.address import checked
from chain.errors import InvalidAddress
from keys.errors import InvalidDerivation
from keys.watching import GAP_LIMIT, AccountXpub, looks_secret
from wallet import custody
from wallet.errors import InvalidField, NotFound
from wallet.ids import is_id, new_id
from wallet.watch import repository
from wallet.watch.errors import AddressIsOurs, AlreadyWatched, SecretRefused, TooManyWatched

MAX_WATCHED = 20  # addresses and keys of one person
MAX_XPUBS = 5  # of them keys: each is many addresses
MAX_LABEL = 60


@dataclass(frozen=True, slots=True)
class WatchDraft:
    """As typed. `source` is an address or an xpub."""

    source: str
    label: str


@dataclass(frozen=True, slots=True)
class _Source:
    kind: str
    identity: str
    addresses: Sequence[str]
    xpub: str | None = None


def refuse_secrets(draft: WatchDraft) -> None:
    """Raises SecretRefused before anything else looks at, keeps or repeats what was typed."""
    if looks_secret(draft.source, unspaced=True):
        raise SecretRefused("/source")
    if looks_secret(draft.label):
        raise SecretRefused("/label")


async def add(
    session: AsyncSession, *, principal_id: str, draft: WatchDraft, deriver: custody.Deriver
) -> RowMapping:
    """Watch it from now on; the worker reads its balances within seconds.

    `deriver` is the house's own. Raises SecretRefused, InvalidField, AddressIsOurs,
    AlreadyWatched, TooManyWatched.
    """
    refuse_secrets(draft)
    label = _clean_label(draft.label)
    source = _parse("".join(draft.source.split()))
    ours = await custody.ours_among(session, source.addresses)
    if ours or deriver.address(0) in source.addresses:
        raise AddressIsOurs(
            "This belongs to the wallet itself: what arrives there is booked, not watched.",
            field="/source",
        )
    await repository.lock_owner(session, principal_id)
    known = await repository.known(session, principal_id=principal_id, identity=source.identity)
    if known is not None:
        raise AlreadyWatched("You watch this already.", field="/source", extra={"id": known})
    await _require_room(session, principal_id, source.kind)
    row = await repository.insert(
        session,
        watched_id=new_id("wat"),
        principal_id=principal_id,
        kind=source.kind,
        label=label,
        identity=source.identity,
        xpub=source.xpub,
    )
    await repository.insert_addresses(
        session, watched_id=row["id"], start=0, addresses=source.addresses
    )
    return row


async def get(session: AsyncSession, *, principal_id: str, watched_id: str) -> RowMapping:
    """One of this principal's. Raises NotFound."""
    row = None
    if is_id(watched_id, "wat"):
        row = await repository.find(session, principal_id=principal_id, watched_id=watched_id)
    if row is None:
        raise NotFound("You watch no such address or key.")
    return row


async def page(
    session: AsyncSession,
    *,
    principal_id: str,
    limit: int,
    cursor: tuple[datetime, str] | None,
) -> Sequence[RowMapping]:
    """Newest first, `limit + 1` at most."""
    return await repository.page(session, principal_id=principal_id, limit=limit, cursor=cursor)


async def remove(session: AsyncSession, *, principal_id: str, watched_id: str) -> None:
    """Forget it, and all that was read about it. Raises NotFound."""
    if not is_id(watched_id, "wat") or not await repository.delete(
        session, principal_id=principal_id, watched_id=watched_id
    ):
        raise NotFound("You watch no such address or key.")


def _parse(source: str) -> _Source:
    if source.lower().startswith("0x"):
        try:
            address = checked(source)
        except InvalidAddress as error:
            raise InvalidField(f"Not an address: {error}.", field="/source") from None
        return _Source("address", address, [address])
    try:
        key = AccountXpub(source)
    except InvalidDerivation:
        raise InvalidField(
            "Neither an address (0x and 40 digits, EIP-55) nor the xpub of an account"
            " (m/44'/60'/n').",
            field="/source",
        ) from None
    return _Source("xpub", key.identity, key.addresses(0, GAP_LIMIT), key.text)


async def _require_room(session: AsyncSession, principal_id: str, kind: str) -> None:
    counts = await repository.counted(session, principal_id)
    if sum(counts.values()) >= MAX_WATCHED:
        raise TooManyWatched(
            f"At most {MAX_WATCHED} addresses and keys are watched; remove one first.",
            extra={"max": MAX_WATCHED},
        )
    if kind == "xpub" and counts.get("xpub", 0) >= MAX_XPUBS:
        raise TooManyWatched(
            f"At most {MAX_XPUBS} extended keys are watched; remove one first.",
            extra={"max": MAX_XPUBS},
        )


def _clean_label(label: str) -> str:
    cleaned = " ".join(unicodedata.normalize("NFC", label).split())
    if not 1 <= len(cleaned) <= MAX_LABEL or any(
        unicodedata.category(letter) in {"Cc", "Cf", "Cs", "Co", "Cn"} for letter in cleaned
    ):
        raise InvalidField(f"A label of 1 to {MAX_LABEL} visible characters.", field="/label")
    return cleaned

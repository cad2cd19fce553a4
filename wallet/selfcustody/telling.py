"""The signer's public key is told anew all the time: who is told an older one takes it for gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

from sqlalchemy import text

from keys.errors import SignerRefused, SignerUnavailable
from keys.request import SignedBefore
from wallet.db import Database

TELL_KEY_SECONDS = 3  # a signer that was started again has a new key
REPLY_SECONDS = 600.0
"""A sealed reply is for the page that waits for it; who reads the signer's memory a week later
finds none in the database."""


class Relay(Protocol):
    """What `keys.remote.RemoteSigner` does for us."""

    async def selfcustody(self, method: str, **params: Any) -> dict[str, Any]:
        """One of `key`, `open`, `sign`."""
        ...

    async def signed_before(self, intent_ids: Sequence[str]) -> list[SignedBefore]:
        """What its journal has of these payments."""
        ...


async def tell_key(db: Database, relay: Relay) -> None:
    """Ask for it and write it down; forget old replies. Raises SignerUnavailable, SignerRefused."""
    key = str((await relay.selfcustody("key"))["public_key"])
    async with db.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO selfcustody_key (public_key) VALUES (:key)"
                " ON CONFLICT (singleton) DO UPDATE SET public_key = :key,"
                " seen_at = clock_timestamp()"
            ),
            {"key": key},
        )
        await session.execute(
            text(
                "UPDATE selfcustody_requests SET reply = NULL WHERE reply IS NOT NULL"
                " AND created_at < clock_timestamp() - make_interval(secs => :age)"
            ),
            {"age": REPLY_SECONDS},
        )


@asynccontextmanager
async def telling_key(db: Database, relay: Relay) -> AsyncIterator[None]:
    """Go on telling it beside a pass, which may take long: own accounts would count as away."""

    async def tell() -> None:
        while True:
            await asyncio.sleep(TELL_KEY_SECONDS)
            with suppress(SignerUnavailable, SignerRefused):
                await tell_key(db, relay)

    beside = asyncio.create_task(tell())
    try:
        yield
    finally:
        beside.cancel()
        await asyncio.gather(beside, return_exceptions=True)

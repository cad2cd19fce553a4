"""Reads what watched addresses hold: by batches at the head of each network, in the worker.

Nothing here is booked. A figure is of the head, so a reorg may take it back; it carries its block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from chain.balances import Holding
from chain.client import ChainClient
from chain.errors import ChainError
from keys.watching import GAP_LIMIT, AccountXpub
from wallet.crashpoints import hit
from wallet.db import Database
from wallet.onchain import network as networks
from wallet.watch import repository

TICK_SECONDS = 3.0
READ_AGAIN_SECONDS = 15.0
READ_EMPTY_AGAIN_SECONDS = 60.0
BATCH_ADDRESSES = 200
MAX_ADDRESSES = 100  # of one xpub: derived until 20 in a row are unused, and no further than this
log = structlog.get_logger(__name__)


class BalanceReader:
    """One network. Any pass may be lost: the next one reads what is oldest."""

    def __init__(
        self,
        db: Database,
        chain: ChainClient,
        *,
        read_again_seconds: float = READ_AGAIN_SECONDS,
        read_empty_again_seconds: float = READ_EMPTY_AGAIN_SECONDS,
    ) -> None:
        self._db = db
        self._chain = chain
        self._soon = read_again_seconds
        self._later = read_empty_again_seconds

    async def tick(self) -> int:
        """Read the addresses that are due; returns how many. A node that is away, or one that
        serves another chain, leaves the figures as they are: they grow old, and say so."""
        network = self._chain.network
        async with self._db.transaction() as session:
            status = await networks.read(session, network.name)
            if status is None or not status.fresh:
                return 0
            rows = await repository.due(
                session,
                network=network.name,
                native=network.native_asset,
                soon_seconds=self._soon,
                later_seconds=self._later,
                limit=BATCH_ADDRESSES,
            )
        if not rows:
            return 0
        asked = sorted({row["address"] for row in rows})
        try:
            head = await self._chain.head()
            found = await self._chain.holdings(asked, head.number)
        except ChainError as error:
            log.warning("watch.node_away", network=network.name, error=error.code)
            return 0
        held = dict(zip(asked, found, strict=True))
        async with self._db.transaction() as session:
            await self._store(session, rows, held, head.number)
            hit("watch.before_commit")
        return len(rows)

    async def _store(
        self,
        session: AsyncSession,
        rows: Sequence[RowMapping],
        held: dict[str, Holding],
        block: int,
    ) -> None:
        balances: list[dict[str, Any]] = []
        used = []
        for row in sorted(rows, key=lambda row: (row["watched_id"], row["position"])):
            holding = held[row["address"]]
            place = {"watched_id": row["watched_id"], "position": row["position"]}
            balances += [
                {
                    **place, "network": self._chain.network.name, "asset": asset, "minor": minor,
                    "block": block,
                }
                for asset, minor in sorted(holding.minor.items())
            ]  # fmt: skip
            if holding.nonce or any(holding.minor.values()):
                used.append((row["watched_id"], row["position"]))
        await repository.store(session, balances)
        if used:
            await repository.mark_used(session, used)
            await self._derive_further(session, sorted({watched_id for watched_id, _ in used}))

    async def _derive_further(self, session: AsyncSession, watched_ids: Sequence[str]) -> None:
        """Keep the gap limit's worth of unused addresses behind the last used one."""
        for window in await repository.windows(session, watched_ids):
            wanted = min(window["last_used"] + 1 + GAP_LIMIT, MAX_ADDRESSES)
            derived = int(window["derived"])
            if wanted > derived:
                addresses = AccountXpub(window["xpub"]).addresses(derived, wanted - derived)
                await repository.insert_addresses(
                    session, watched_id=window["id"], start=derived, addresses=addresses
                )

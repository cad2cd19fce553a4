"""What is to be credited is asked of other nodes first, where there are several.

What they differ about waits, also after one of them was taken out of the file: the node that is
left must show it anew. What none shows any more is in no block, as if a reorganisation had taken
it; coins that did arrive are found by balances then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from sqlalchemy import text

from chain import witness
from chain.client import ChainClient
from chain.lanes import in_lanes
from chain.observe import ObservedDeposit
from wallet import clock
from wallet.db import Database
from wallet.deposits.credit import tell
from wallet.deposits.repository import deposit_of
from wallet.money import AssetBook

BLOCKS_AT_ONCE = 40
"""Blocks that are read anew in one pass; those of the others have their turn in the next."""
AGAIN_SECONDS = 10.0
"""What nodes differ about is not asked in every pass."""
DIFFER = "nodes_differ"
"""The reason of a deposit that waits because of that."""
Place = tuple[int, str]
"""Number and hash of a block."""
log = structlog.get_logger(__name__)


class Witnesses:
    """Of one network. Remembers what it asked lately."""

    def __init__(self, db: Database, chain: ChainClient, assets: AssetBook) -> None:
        self._db = db
        self._chain = chain
        self._assets = assets
        self._again_seconds: dict[Place, float] = {}

    async def heard(self, deposit_ids: Sequence[str]) -> list[str]:
        """Those of these, final and not booked, that are more than one node's word, or move inside
        the house only. Raises NodeUnavailable, NodeTimeout."""
        rows = await self._claims(deposit_ids)
        asked = {row.id for rows_of in rows.values() for row in rows_of}
        if not asked:
            return list(deposit_ids)
        now = clock.steady()
        self._again_seconds = {place: at for place, at in self._again_seconds.items() if at > now}
        due = [place for place in rows if place not in self._again_seconds][:BLOCKS_AT_ONCE]

        async def ask(place: Place) -> list[bool | None]:
            return await witness.arrived(self._chain, *place, [_claim(row) for row in rows[place]])

        told: dict[bool | None, set[str]] = defaultdict(set)
        for place, verdicts in zip(due, await in_lanes(due, ask), strict=True):
            for row, verdict in zip(rows[place], verdicts, strict=True):
                told[verdict].add(row.id)
            if None in verdicts:
                self._again_seconds[place] = now + AGAIN_SECONDS
        await self._keep(gone=told[False], doubted=told[None])
        return [one for one in deposit_ids if one not in asked or one in told[True]]

    async def _claims(self, deposit_ids: Sequence[str]) -> Mapping[Place, list[Any]]:
        """Those that are to be asked about, by block, in the order given."""
        if not deposit_ids:
            return {}
        async with self._db.transaction() as session:
            found = await session.execute(
                text(
                    "SELECT d.* FROM deposits d JOIN unnest(CAST(:ids AS text[])) WITH ORDINALITY"
                    " AS n (id, turn) ON n.id = d.id WHERE d.status IN ('seen', 'confirmed')"
                    " AND NOT d.is_move AND (:several OR d.reason = :differ) ORDER BY n.turn"
                ),
                {
                    "ids": list(deposit_ids), "differ": DIFFER,
                    "several": witness.has_witnesses(self._chain),
                },
            )  # fmt: skip
        by_place: dict[Place, list[Any]] = defaultdict(list)
        for row in found:
            by_place[row.block_number, row.block_hash].append(row)
        return by_place

    async def _keep(self, *, gone: set[str], doubted: set[str]) -> None:
        if not gone and not doubted:
            return
        async with self._db.transaction() as session:
            await session.execute(
                text(
                    "UPDATE deposits SET reason = :differ, updated_at = clock_timestamp()"
                    " WHERE id = ANY(:ids) AND status IN ('seen', 'confirmed') AND reason IS NULL"
                ),
                {"ids": sorted(doubted), "differ": DIFFER},
            )
            taken = await session.execute(
                text(
                    "UPDATE deposits SET status = 'orphaned', updated_at = clock_timestamp()"
                    " WHERE id = ANY(:ids) AND status IN ('seen', 'confirmed') RETURNING *"
                ),
                {"ids": sorted(gone)},
            )
            rows = [deposit_of(row) for row in taken]
            await tell(session, self._assets, "deposit.orphaned", rows)
        for row in rows:
            log.error("deposit.not_shown", network=row.network, deposit=row.id, tx_hash=row.tx_hash)


def _claim(row: Any) -> ObservedDeposit:
    return ObservedDeposit(
        tx_hash=row.tx_hash,
        log_index=row.log_index,
        asset=row.asset,
        contract=row.contract,
        from_address=row.from_address,
        to_address=row.to_address,
        amount=int(row.amount_minor),
        trace_path=row.trace_path,
    )

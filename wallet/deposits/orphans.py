"""Transfers known from blocks that are gone, found again in a new block.

All of a block's are looked up and moved by few statements: how many there are strangers decide, and
a reorganisation brings all of them at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.blocks import BlockRef
from chain.observe import ObservedDeposit
from wallet.deposits.lineage import block_time
from wallet.deposits.repository import DepositRow, deposit_of


@dataclass(frozen=True, slots=True)
class Moved:
    """The deposit of this id is in a new block. `quarantine`: why a person must look at it."""

    id: str
    seen: ObservedDeposit
    is_move: bool
    quarantine: str | None


@dataclass(slots=True)
class Known:
    """What is known of a block's transactions from before. `lost`: those with an open loss."""

    lost: set[str]
    here: dict[tuple[str, int, str], Any] = field(default_factory=dict)
    """By place (transaction, log, path): rows of this very block, from an earlier scan of it."""
    gone: dict[tuple[str, str, str, int], list[Any]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """By what moved: orphans of other blocks, in their order there."""

    def take(self, seen: ObservedDeposit, *, is_move: bool) -> str | None:
        """The orphan that is this transfer, once. None: it is new, or its place is taken."""

        def fits(row: Any) -> bool:
            return row.from_address == seen.from_address or not (row.is_move or is_move)

        what = (seen.tx_hash, seen.asset, seen.to_address, seen.amount)
        same = self.here.get((seen.tx_hash, seen.log_index, seen.trace_path))
        if same is not None:
            again = same.status == "orphaned" and _what(same) == what and fits(same)
            return str(same.id) if again else None
        rows = self.gone.get(what, [])
        place = next((n for n, row in enumerate(rows) if fits(row)), None)
        return None if place is None else str(rows.pop(place).id)


async def known(
    session: AsyncSession, network: str, block: BlockRef, tx_hashes: Sequence[str]
) -> Known:
    """Of these transactions, which the block holds."""
    hashes = {"network": network, "hashes": sorted(set(tx_hashes))}
    lost = await session.execute(
        text(
            "SELECT DISTINCT d.tx_hash FROM deposits d JOIN deposit_losses l"
            " ON l.deposit_id = d.id AND l.return_entry_id IS NULL"
            " WHERE d.network = :network AND d.tx_hash = ANY(:hashes)"
        ),
        hashes,
    )
    found = Known(set(lost.scalars()))
    rows = await session.execute(
        text(
            "SELECT id, block_hash, tx_hash, log_index, trace_path, asset, from_address,"
            " to_address, amount_minor, is_move, status FROM deposits WHERE network = :network"
            " AND tx_hash = ANY(:hashes) AND (status = 'orphaned' OR block_hash = :block)"
            " ORDER BY log_index, trace_path, id"
        ),
        {**hashes, "block": block.hash},
    )
    for row in rows:
        if row.block_hash == block.hash:
            found.here[row.tx_hash, row.log_index, row.trace_path] = row
        else:
            found.gone[_what(row)].append(row)
    return found


async def move(
    session: AsyncSession, network: str, block: BlockRef, moved: Sequence[Moved]
) -> list[DepositRow]:
    """Each in this block now, seen as if for the first time. Their places there are free, or their
    own."""
    if not moved:
        return []
    rows = await session.execute(
        text(
            "UPDATE deposits d SET block_hash = :block_hash, block_number = :block_number,"
            " block_time = :block_time, log_index = n.log, trace_path = n.path,"
            " is_move = n.is_move, reason = n.why,"
            " status = CASE WHEN n.why IS NULL THEN 'seen' ELSE 'quarantined' END,"
            " updated_at = clock_timestamp() FROM unnest(CAST(:ids AS text[]),"
            " CAST(:logs AS int[]), CAST(:paths AS text[]), CAST(:moves AS bool[]),"
            " CAST(:whys AS text[])) AS n (id, log, path, is_move, why)"
            " WHERE d.id = n.id AND d.network = :network AND d.status = 'orphaned' RETURNING d.*"
        ),
        {
            "network": network,
            "block_hash": block.hash,
            "block_number": block.number,
            "block_time": block_time(block),
            "ids": [one.id for one in moved],
            "logs": [one.seen.log_index for one in moved],
            "paths": [one.seen.trace_path for one in moved],
            "moves": [one.is_move for one in moved],
            "whys": [one.quarantine for one in moved],
        },
    )
    by_id = {row.id: deposit_of(row) for row in rows}
    return [by_id[one.id] for one in moved if one.id in by_id]


def _what(row: Any) -> tuple[str, str, str, int]:
    return row.tx_hash, row.asset, row.to_address, int(row.amount_minor)

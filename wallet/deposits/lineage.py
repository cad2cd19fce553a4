"""Where a network's scanner stands: its newest block, the final one, the blocks behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.blocks import BlockRef

KEEP_BLOCKS = 4_096  # how far back a fork can be followed without an operator
PRUNE_EVERY = 256


@dataclass(frozen=True, slots=True)
class Tip:
    """The newest scanned block; `final_number` is the height below which nothing may change."""

    number: int
    hash: str
    final_number: int


def block_time(block: BlockRef) -> datetime:
    """The block's own time, aware, UTC."""
    return datetime.fromtimestamp(block.timestamp, UTC)


async def tip(session: AsyncSession, network: str, *, lock: bool = False) -> Tip | None:
    """Where the scanner stands; with `lock` nobody else moves it until the commit."""
    row = (
        await session.execute(
            text(
                "SELECT tip_number, tip_hash, final_number FROM scan_state WHERE network = :network"
                + (" FOR UPDATE" if lock else "")
            ),
            {"network": network},
        )
    ).one_or_none()
    return None if row is None else Tip(row.tip_number, row.tip_hash, row.final_number)


async def start(session: AsyncSession, network: str, block: BlockRef) -> bool:
    """Stand at `block` before anything was scanned. False when a rival began first."""
    begun = await session.scalar(
        text(
            "INSERT INTO scan_state (network, tip_number, tip_hash, started_at_block)"
            " VALUES (:network, :number, :hash, :number) ON CONFLICT DO NOTHING RETURNING 1"
        ),
        {"network": network, "number": block.number, "hash": block.hash},
    )
    if begun is None:
        return False
    await insert_blocks(session, network, [block])
    return True


async def advance(session: AsyncSession, network: str, blocks: Sequence[BlockRef]) -> bool:
    """Move from the first one's parent to the last. False when somebody else moved.

    Each must be the child of the one before.
    """
    first, last = blocks[0], blocks[-1]
    moved = await session.scalar(
        text(
            "UPDATE scan_state SET tip_number = :number, tip_hash = :hash,"
            " updated_at = clock_timestamp()"
            " WHERE network = :network AND tip_number = :before AND tip_hash = :parent"
            " RETURNING 1"
        ),
        {
            "network": network,
            "number": last.number,
            "hash": last.hash,
            "before": first.number - 1,
            "parent": first.parent_hash,
        },
    )
    if moved is None:
        return False
    await insert_blocks(session, network, blocks)
    if last.number // PRUNE_EVERY > (first.number - 1) // PRUNE_EVERY:
        await session.execute(
            text(
                "DELETE FROM chain_blocks b USING scan_state s WHERE b.network = :network"
                " AND s.network = b.network"
                " AND b.number < least(s.final_number, s.tip_number - :keep,"
                # What is booked by its block keeps that block: a scanner that catches up may be
                # far ahead of its credits. A null counts for nothing here.
                "  (SELECT min(block_number) FROM deposits WHERE network = :network"
                "   AND status IN ('seen', 'confirmed')),"
                "  (SELECT min(block_number) FROM cold_gas WHERE network = :network"
                "   AND entry_id IS NULL),"
                "  (SELECT min(again_block_number) FROM deposit_losses WHERE network = :network"
                "   AND return_entry_id IS NULL))"
            ),
            {"network": network, "keep": KEEP_BLOCKS},
        )
    return True


async def rewind(session: AsyncSession, network: str, to: Tip) -> None:
    """Forget every block above `to`. Under the lock of `tip`."""
    await session.execute(
        text("DELETE FROM chain_blocks WHERE network = :network AND number > :number"),
        {"network": network, "number": to.number},
    )
    await session.execute(
        text(
            "UPDATE scan_state SET tip_number = :number, tip_hash = :hash,"
            " updated_at = clock_timestamp() WHERE network = :network"
        ),
        {"network": network, "number": to.number, "hash": to.hash},
    )
    # A snapshot known by its number alone may be of the fork that was left.
    await session.execute(
        text(
            "UPDATE network_state SET snapshot_block = least(snapshot_block, :number)"
            " WHERE network = :network AND snapshot_hash IS NULL"
        ),
        {"network": network, "number": to.number},
    )


async def set_final(session: AsyncSession, network: str, *, at: Tip, number: int) -> bool:
    """Remember that nothing at or below `number` may change. False when the tip has moved."""
    done = await session.scalar(
        text(
            "UPDATE scan_state s SET final_number = greatest(s.final_number, :number),"
            " final_hash = CASE WHEN :number > s.final_number THEN (SELECT b.hash"
            "   FROM chain_blocks b WHERE b.network = s.network AND b.number = :number)"
            "   ELSE s.final_hash END"
            " WHERE s.network = :network AND s.tip_number = :tip AND s.tip_hash = :hash"
            " RETURNING 1"
        ),
        {"network": network, "number": number, "tip": at.number, "hash": at.hash},
    )
    return done is not None


async def insert_blocks(session: AsyncSession, network: str, blocks: Sequence[BlockRef]) -> None:
    """Add blocks to the lineage."""
    await session.execute(
        text(
            "INSERT INTO chain_blocks (network, number, hash, parent_hash, block_time)"
            " SELECT :network, b.number, b.hash, b.parent, b.time FROM unnest("
            "   CAST(:numbers AS bigint[]), CAST(:hashes AS text[]), CAST(:parents AS text[]),"
            "   CAST(:times AS timestamptz[])) AS b (number, hash, parent, time)"
        ),
        {
            "network": network,
            "numbers": [block.number for block in blocks],
            "hashes": [block.hash for block in blocks],
            "parents": [block.parent_hash for block in blocks],
            "times": [block_time(block) for block in blocks],
        },
    )


async def kept(
    session: AsyncSession, network: str, *, at_most: int, limit: int
) -> list[tuple[int, str]]:
    """(number, hash) of scanned blocks at or below `at_most`, newest first."""
    rows = await session.execute(
        text(
            "SELECT number, hash FROM chain_blocks WHERE network = :network"
            " AND number <= :at_most ORDER BY number DESC LIMIT :limit"
        ),
        {"network": network, "at_most": at_most, "limit": limit},
    )
    return [(row.number, row.hash) for row in rows]

"""Queries of the scanner's place, the lineage it followed, and what arrived."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.blocks import BlockRef
from chain.observe import ObservedDeposit
from wallet.ids import new_id

KEEP_BLOCKS = 4_096  # how far back a fork can be followed without an operator
PRUNE_EVERY = 256


@dataclass(frozen=True, slots=True)
class Tip:
    """The newest scanned block; `final_number` is the height below which nothing may change."""

    number: int
    hash: str
    final_number: int


@dataclass(frozen=True, slots=True)
class DepositRow:
    """One arrival as stored. `principal_id` None: at an address of the house itself; `is_move`: it
    came there from a deposit address of ours."""

    id: str
    network: str
    block_hash: str
    block_number: int
    block_time: datetime
    tx_hash: str
    log_index: int
    asset: str
    from_address: str
    to_address: str
    amount_minor: int
    principal_id: str | None
    is_move: bool
    status: str
    reason: str | None
    created_at: datetime


# The scanner's place


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


async def lineage(
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


# What arrived


async def move_orphan(
    session: AsyncSession,
    network: str,
    block: BlockRef,
    seen: ObservedDeposit,
    *,
    is_move: bool,
    quarantine: str | None,
) -> DepositRow | None:
    """The same transfer, known from a block that is gone, in its new block. None: not known."""
    row = (
        await session.execute(
            text(
                "UPDATE deposits SET block_hash = :block_hash, block_number = :block_number,"
                " block_time = :block_time, log_index = :log_index, trace_path = :trace_path,"
                " is_move = :is_move, status = :status, reason = :reason,"
                " updated_at = clock_timestamp() WHERE id = (SELECT o.id FROM deposits o"
                "   WHERE o.network = :network AND o.tx_hash = :tx_hash AND o.status = 'orphaned'"
                "   AND o.asset = :asset AND o.to_address = :to_address"
                "   AND o.amount_minor = :amount"
                "   AND (o.from_address = :from_address OR NOT (o.is_move OR :is_move))"
                "   AND NOT EXISTS (SELECT FROM deposits k"
                "    WHERE k.network = :network AND k.block_hash = :block_hash"
                "    AND k.tx_hash = :tx_hash AND k.log_index = :log_index"
                "    AND k.trace_path = :trace_path AND k.id <> o.id)"
                "   ORDER BY o.log_index, o.trace_path, o.id LIMIT 1) RETURNING *"
            ),
            {
                **_place(network, block, seen),
                "is_move": is_move,
                "status": "quarantined" if quarantine else "seen",
                "reason": quarantine,
            },
        )
    ).one_or_none()
    return None if row is None else _deposit(row)


async def insert_deposit(
    session: AsyncSession,
    network: str,
    block: BlockRef,
    seen: ObservedDeposit,
    *,
    principal_id: str | None,
    is_move: bool,
    quarantine: str | None,
) -> DepositRow | None:
    """A new arrival. None: this very log of this very block is known, from an earlier scan."""
    row = (
        await session.execute(
            text(
                "INSERT INTO deposits (id, network, block_hash, block_number, block_time, tx_hash,"
                " log_index, trace_path, asset, contract, from_address, to_address, amount_minor,"
                " principal_id, is_move, status, reason) VALUES (:id, :network, :block_hash,"
                " :block_number, :block_time, :tx_hash, :log_index, :trace_path, :asset, :contract,"
                " :from_address, :to_address, :amount, :principal, :is_move, :status, :reason)"
                " ON CONFLICT (network, block_hash, tx_hash, log_index, trace_path) DO NOTHING"
                " RETURNING *"
            ),
            {
                **_place(network, block, seen),
                "id": new_id("dep"),
                "contract": seen.contract,
                "principal": principal_id,
                "is_move": is_move,
                "status": "quarantined" if quarantine else "seen",
                "reason": quarantine,
            },
        )
    ).one_or_none()
    return None if row is None else _deposit(row)


async def ignore(
    session: AsyncSession,
    network: str,
    block: BlockRef,
    seen: ObservedDeposit,
    reason: str,
    *,
    principal_id: str | None,
) -> None:
    """Keep that something arrived which is nobody's deposit."""
    await session.execute(
        text(
            "INSERT INTO deposits (id, network, block_hash, block_number, block_time, tx_hash,"
            " log_index, trace_path, asset, contract, from_address, to_address, amount_minor,"
            " principal_id, status, reason) VALUES (:id, :network, :block_hash, :block_number,"
            " :block_time, :tx_hash, :log_index, :trace_path, :asset, :contract, :from_address,"
            " :to_address, :amount, :principal, 'ignored', :reason)"
            " ON CONFLICT (network, block_hash, tx_hash, log_index, trace_path) DO NOTHING"
        ),
        {
            **_place(network, block, seen),
            "id": new_id("dep"),
            "contract": seen.contract,
            "principal": principal_id,
            "reason": reason,
        },
    )


async def orphan_above(session: AsyncSession, network: str, number: int) -> list[DepositRow]:
    """Everything not booked above `number` is in no block any more."""
    rows = await session.execute(
        text(
            "UPDATE deposits SET status = 'orphaned', updated_at = clock_timestamp()"
            " WHERE network = :network AND block_number > :number AND entry_id IS NULL"
            " AND status IN ('seen', 'confirmed', 'quarantined', 'ignored') RETURNING *"
        ),
        {"network": network, "number": number},
    )
    return [_deposit(row) for row in rows]


async def confirm_up_to(session: AsyncSession, network: str, number: int) -> list[DepositRow]:
    """Seen deposits at or below `number` have their confirmations."""
    rows = await session.execute(
        text(
            "UPDATE deposits SET status = 'confirmed', updated_at = clock_timestamp()"
            " WHERE network = :network AND block_number <= :number AND status = 'seen' RETURNING *"
        ),
        {"network": network, "number": number},
    )
    return [_deposit(row) for row in rows]


async def creditable(
    session: AsyncSession, network: str, *, up_to: int, limit: int
) -> Sequence[str]:
    """Ids of final deposits that are not booked, in chain order."""
    rows = await session.execute(
        text(
            "SELECT id FROM deposits WHERE network = :network AND block_number <= :number"
            " AND status IN ('seen', 'confirmed')"
            " ORDER BY block_number, tx_hash, log_index, trace_path LIMIT :limit"
        ),
        {"network": network, "number": up_to, "limit": limit},
    )
    return [row.id for row in rows]


async def lock_creditable(session: AsyncSession, deposit_id: str) -> DepositRow | None:
    """The deposit, locked, if it is unbooked and its block is in the lineage and final."""
    row = (
        await session.execute(
            text(
                "SELECT d.* FROM deposits d"
                " JOIN scan_state s ON s.network = d.network AND s.final_number >= d.block_number"
                " JOIN chain_blocks b ON b.network = d.network AND b.number = d.block_number"
                "   AND b.hash = d.block_hash"
                " WHERE d.id = :id AND d.status IN ('seen', 'confirmed') FOR UPDATE OF d, s"
            ),
            {"id": deposit_id},
        )
    ).one_or_none()
    return None if row is None else _deposit(row)


async def set_booked(
    session: AsyncSession, deposit_id: str, *, status: str, entry_id: str, reason: str | None
) -> None:
    """The deposit is in the books."""
    await session.execute(
        text(
            "UPDATE deposits SET status = :status, entry_id = :entry, reason = :reason,"
            " updated_at = clock_timestamp() WHERE id = :id"
        ),
        {"id": deposit_id, "status": status, "entry": entry_id, "reason": reason},
    )


async def quarantine(session: AsyncSession, deposit_id: str, reason: str) -> DepositRow | None:
    """Leave an unbooked deposit to a person. None when it is booked."""
    done = await session.execute(
        text(
            "UPDATE deposits SET status = 'quarantined', reason = :reason,"
            " updated_at = clock_timestamp() WHERE id = :id AND entry_id IS NULL RETURNING *"
        ),
        {"id": deposit_id, "reason": reason},
    )
    row = done.one_or_none()
    return None if row is None else _deposit(row)


def block_time(block: BlockRef) -> datetime:
    """The block's own time, aware, UTC."""
    return datetime.fromtimestamp(block.timestamp, UTC)


def _place(network: str, block: BlockRef, seen: ObservedDeposit) -> dict[str, Any]:
    return {
        "network": network,
        "block_hash": block.hash,
        "block_number": block.number,
        "block_time": block_time(block),
        "tx_hash": seen.tx_hash,
        "log_index": seen.log_index,
        "trace_path": seen.trace_path,
        "asset": seen.asset,
        "from_address": seen.from_address,
        "to_address": seen.to_address,
        "amount": seen.amount,
    }


def _deposit(row: Any) -> DepositRow:
    return DepositRow(
        id=row.id,
        network=row.network,
        block_hash=row.block_hash,
        block_number=row.block_number,
        block_time=row.block_time,
        tx_hash=row.tx_hash,
        log_index=row.log_index,
        asset=row.asset,
        from_address=row.from_address,
        to_address=row.to_address,
        amount_minor=int(row.amount_minor),
        principal_id=row.principal_id,
        is_move=row.is_move,
        status=row.status,
        reason=row.reason,
        created_at=row.created_at,
    )

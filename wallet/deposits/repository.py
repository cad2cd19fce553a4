"""Queries of what arrived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.blocks import BlockRef
from chain.observe import ObservedDeposit
from wallet.deposits.lineage import block_time
from wallet.ids import new_id

_HALTED = (
    "NOT d.is_move AND EXISTS (SELECT FROM halted_tokens h WHERE h.network = d.network"
    " AND h.asset = d.asset)"
)


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


@dataclass(frozen=True, slots=True)
class NewDeposit:
    """One that no row knows. `quarantine`: why a person must look at it, if one must."""

    seen: ObservedDeposit
    principal_id: str | None
    is_move: bool
    quarantine: str | None


async def insert_deposits(
    session: AsyncSession, network: str, block: BlockRef, new: Sequence[NewDeposit]
) -> list[DepositRow]:
    """New arrivals of one block, in its order, without those whose very log of this very block is
    known, from an earlier scan. In one statement: how many there are strangers decide."""
    rows = await session.execute(
        text(
            "INSERT INTO deposits (id, network, block_hash, block_number, block_time, tx_hash,"
            " log_index, trace_path, asset, contract, from_address, to_address, amount_minor,"
            " principal_id, is_move, status, reason) SELECT n.id, :network, :block_hash,"
            " :block_number, :block_time, n.tx, n.log, n.path, n.asset, n.contract, n.sender,"
            " n.recipient, n.amount, n.owner, n.is_move,"
            " CASE WHEN n.why IS NULL THEN 'seen' ELSE 'quarantined' END, n.why FROM unnest("
            " CAST(:ids AS text[]), CAST(:txs AS text[]), CAST(:logs AS int[]),"
            " CAST(:paths AS text[]), CAST(:assets AS text[]), CAST(:contracts AS text[]),"
            " CAST(:senders AS text[]), CAST(:recipients AS text[]), CAST(:amounts AS numeric[]),"
            " CAST(:owners AS text[]), CAST(:moves AS bool[]), CAST(:whys AS text[])) AS n (id, tx,"
            " log, path, asset, contract, sender, recipient, amount, owner, is_move, why)"
            " ON CONFLICT (network, block_hash, tx_hash, log_index, trace_path) DO NOTHING"
            " RETURNING *"
        ),
        {
            "network": network,
            "block_hash": block.hash,
            "block_number": block.number,
            "block_time": block_time(block),
            "ids": [new_id("dep") for _ in new],
            "txs": [one.seen.tx_hash for one in new],
            "logs": [one.seen.log_index for one in new],
            "paths": [one.seen.trace_path for one in new],
            "assets": [one.seen.asset for one in new],
            "contracts": [one.seen.contract for one in new],
            "senders": [one.seen.from_address for one in new],
            "recipients": [one.seen.to_address for one in new],
            "amounts": [Decimal(one.seen.amount) for one in new],
            "owners": [one.principal_id for one in new],
            "moves": [one.is_move for one in new],
            "whys": [one.quarantine for one in new],
        },
    )
    return [deposit_of(row) for row in rows]


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
    return [deposit_of(row) for row in rows]


async def confirm_up_to(session: AsyncSession, network: str, number: int) -> list[DepositRow]:
    """Seen deposits at or below `number` have their confirmations."""
    rows = await session.execute(
        text(
            "UPDATE deposits SET status = 'confirmed', updated_at = clock_timestamp()"
            " WHERE network = :network AND block_number <= :number AND status = 'seen' RETURNING *"
        ),
        {"network": network, "number": number},
    )
    return [deposit_of(row) for row in rows]


async def leave_aside(
    session: AsyncSession, network: str, listed: Sequence[str]
) -> list[DepositRow]:
    """Deposits that wait in an asset which no network lists any more, or whose token was halted
    since they were seen, are left to a person. Moves inside the house are not."""
    rows = await session.execute(
        text(
            "UPDATE deposits d SET status = 'quarantined', reason = CASE"
            " WHEN d.asset <> ALL(:listed) THEN 'asset_unlisted' ELSE 'token_halted' END,"
            " updated_at = clock_timestamp() WHERE d.network = :network"
            " AND d.status IN ('seen', 'confirmed') AND (d.asset <> ALL(:listed)"
            f"  OR {_HALTED}) RETURNING *"
        ),
        {"network": network, "listed": list(listed)},
    )
    return [deposit_of(row) for row in rows]


async def creditable(
    session: AsyncSession, network: str, *, up_to: int, limit: int
) -> Sequence[str]:
    """Ids of final deposits that are not booked: everybody's first, everybody's second, …, each in
    chain order. Who is paid in thousands of parts keeps nobody else waiting, nor does what nodes
    differ about."""
    rows = await session.execute(
        text(
            "SELECT id FROM (SELECT id, reason, block_number, tx_hash, log_index, trace_path,"
            " row_number() OVER (PARTITION BY principal_id"
            "  ORDER BY block_number, tx_hash, log_index, trace_path) AS turn"
            " FROM deposits WHERE network = :network AND block_number <= :number"
            " AND status IN ('seen', 'confirmed')) AS waiting"
            " ORDER BY reason IS NOT NULL, turn, block_number, tx_hash, log_index, trace_path"
            " LIMIT :limit"
        ),
        {"network": network, "number": up_to, "limit": limit},
    )
    return [row.id for row in rows]


async def lock_creditable(session: AsyncSession, deposit_ids: Sequence[str]) -> list[DepositRow]:
    """Those of them, locked, that are unbooked, whose block is in the lineage and final, and whose
    token is not halted."""
    await _lock_place(session, deposit_ids)
    rows = await session.execute(
        text(
            "SELECT d.* FROM deposits d"
            " JOIN scan_state s ON s.network = d.network AND s.final_number >= d.block_number"
            " JOIN chain_blocks b ON b.network = d.network AND b.number = d.block_number"
            "   AND b.hash = d.block_hash"
            " WHERE d.id = ANY(:ids) AND d.status IN ('seen', 'confirmed')"
            f" AND NOT ({_HALTED}) ORDER BY d.id FOR UPDATE OF d, s"
        ),
        {"ids": list(deposit_ids)},
    )
    return [deposit_of(row) for row in rows]


async def _lock_place(session: AsyncSession, deposit_ids: Sequence[str]) -> None:
    """The scanner's place, before any deposit: so does whoever scans, or takes a payment's row back
    (`wallet.onchain.arrived`); the other way round one waits for the other."""
    await session.execute(
        text(
            "SELECT 1 FROM scan_state s WHERE s.network IN (SELECT d.network FROM deposits d"
            " WHERE d.id = ANY(:ids)) ORDER BY s.network FOR UPDATE"
        ),
        {"ids": list(deposit_ids)},
    )


async def lock_set_aside(session: AsyncSession, deposit_id: str) -> DepositRow | None:
    """The deposit, locked as is the scanner's place, if a person must look at it before it is
    booked."""
    await _lock_place(session, [deposit_id])
    row = (
        await session.execute(
            text(
                "SELECT d.* FROM deposits d JOIN scan_state s ON s.network = d.network"
                " WHERE d.id = :id AND d.status = 'quarantined' AND d.entry_id IS NULL"
                " FOR UPDATE OF d, s"
            ),
            {"id": deposit_id},
        )
    ).one_or_none()
    return None if row is None else deposit_of(row)


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


async def set_credited(session: AsyncSession, entries: Mapping[str, str]) -> None:
    """Deposit → its entry: all of these are in the books as they should be."""
    await session.execute(
        text(
            "UPDATE deposits d SET status = 'credited', entry_id = n.entry, reason = NULL,"
            " updated_at = clock_timestamp()"
            " FROM unnest(CAST(:ids AS text[]), CAST(:entries AS text[])) AS n (id, entry)"
            " WHERE d.id = n.id"
        ),
        {"ids": list(entries), "entries": list(entries.values())},
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
    return None if row is None else deposit_of(row)


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


def deposit_of(row: Any) -> DepositRow:
    """A row of the table, whole."""
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

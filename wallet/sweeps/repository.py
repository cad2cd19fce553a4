"""Queries of sweeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.onchain import signers
from wallet.onchain.intents import end_queued
from wallet.onchain.states import State

COOL_DOWN_SECONDS = 3_600.0
"""After a sweep that failed, or moved nothing of an address (its token bars it), that address is
left alone for so long: each try is the house's gas."""
OUTDATED = "treasury_changed"
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A deposit address with something final on it. `minor` of the asset asked for; `age_seconds`
    since its newest deposit of it; `had_coins`: the native coin ever came here; `delegated`: it was
    in a sweep by delegation, so that anybody may sweep it."""

    address: str
    index: int
    minor: int
    age_seconds: float
    had_coins: bool
    delegated: bool


@dataclass(frozen=True, slots=True)
class SweepRow:
    """One sweep as stored, with its addresses."""

    id: str
    network: str
    asset: str
    kind: str
    treasury: str
    place: str
    state: str
    addresses: tuple[str, ...]


async def candidates(
    session: AsyncSession,
    *,
    network: str,
    native: str,
    asset: str,
    up_to: int,
    least: int,
    limit: int,
) -> list[Candidate]:
    """Addresses that hold at least `least` of `asset` by final deposits, most first.

    Less what somebody else swept, final or not. None that is in an open sweep, and none whose sweep
    failed or moved nothing a short while ago.
    """
    rows = await session.execute(
        text(
            "WITH held AS (SELECT address, sum(minor) AS minor, max(at) AS newest FROM ("
            "  SELECT to_address AS address, amount_minor AS minor, created_at AS at FROM deposits"
            "   WHERE network = :network AND asset = :asset AND block_number <= :number"
            "   AND status IN ('credited', 'quarantined') AND entry_id IS NOT NULL"
            "  UNION ALL SELECT address, amount_minor, created_at FROM unattributed_arrivals"
            "   WHERE network = :network AND asset = :asset AND deposit_id IS NULL"
            "  UNION ALL SELECT d.from_address, -d.amount_minor, NULL FROM deposits d"
            "   WHERE d.is_move AND d.network = :network AND d.asset = :asset"
            "   AND d.status NOT IN ('orphaned', 'ignored') AND NOT EXISTS (SELECT"
            "    FROM deposit_losses l WHERE l.deposit_id = d.id AND l.return_entry_id IS NULL)"
            "  UNION ALL SELECT address, minor, NULL FROM deposit_moves"
            "   WHERE network = :network AND asset = :asset) AS moves"
            "  GROUP BY address HAVING sum(minor) >= :least)"
            " SELECT h.address, d.derivation_index, h.minor,"
            "  extract(epoch FROM bifold_now() - h.newest)::float8 AS age,"
            "  EXISTS (SELECT FROM deposits c WHERE c.network = :network AND c.asset = :native"
            "   AND c.to_address = h.address AND c.status IN ('credited', 'quarantined')) AS coins,"
            "  EXISTS (SELECT FROM sweep_accounts b JOIN sweeps t ON t.id = b.sweep_id"
            "   WHERE b.network = :network AND b.address = h.address"
            "   AND t.kind = 'delegated') AS delegated"
            " FROM held h JOIN deposit_addresses d ON d.address = h.address"
            "  AND d.network = :network"
            " WHERE NOT EXISTS (SELECT FROM sweep_accounts a JOIN sweeps s ON s.id = a.sweep_id"
            "   WHERE a.network = :network AND a.address = h.address AND (a.open OR"
            "    (s.ended_at > clock_timestamp() - make_interval(secs => :cool)"
            "     AND (s.state = 'failed' OR NOT EXISTS (SELECT FROM deposit_moves m"
            "      WHERE m.sweep_id = s.id AND m.address = a.address)))))"
            " ORDER BY h.minor DESC, h.address LIMIT :limit"
        ),
        {
            "network": network,
            "native": native,
            "asset": asset,
            "number": up_to,
            "least": max(least, 1),
            "limit": limit,
            "cool": COOL_DOWN_SECONDS,
        },
    )
    return [
        Candidate(
            row.address, row.derivation_index, int(row.minor), row.age or 0.0, row.coins,
            row.delegated,
        )
        for row in rows
    ]  # fmt: skip


async def open_count(session: AsyncSession, network: str) -> int:
    """How many sweeps are under way."""
    return int(
        await session.scalar(
            text("SELECT count(*) FROM sweeps WHERE network = :network AND state = 'open'"),
            {"network": network},
        )
        or 0
    )


async def end_outdated(session: AsyncSession, network: str, treasury: str) -> None:
    """End what is queued to a treasury of before: nobody vouches for it any more, and its addresses
    would wait for it for ever. What they hold goes to `treasury`, later. Not before a worker has
    looked what the signer has signed: these books may be an old copy."""
    if not await signers.were_compared(session, network):
        return
    rows = await session.execute(
        text(
            "SELECT s.id, s.intent_id FROM sweeps s JOIN chain_intents i ON i.id = s.intent_id"
            " WHERE s.network = :network AND s.state = 'open' AND i.state = 'queued'"
            " AND s.treasury <> :treasury ORDER BY s.id"
        ),
        {"network": network, "treasury": treasury},
    )
    for row in rows.all():
        if await end_queued(session, row.intent_id, State.CANCELLED, reason=OUTDATED) is None:
            await end(session, row.id, state="failed", entry_id=None)
            log.warning("sweep.outdated", network=network, sweep=row.id)


async def insert(
    session: AsyncSession, values: Mapping[str, Any], addresses: Sequence[str]
) -> None:
    """A new sweep and its addresses. A rival's open sweep of one of them is an IntegrityError."""
    columns = ", ".join(values)
    places = ", ".join(f":{name}" for name in values)
    await session.execute(text(f"INSERT INTO sweeps ({columns}) VALUES ({places})"), dict(values))
    await session.execute(
        text(
            "INSERT INTO sweep_accounts (sweep_id, network, address)"
            " SELECT :sweep, :network, unnest(CAST(:addresses AS text[]))"
        ),
        {"sweep": values["id"], "network": values["network"], "addresses": list(addresses)},
    )


async def by_intent(session: AsyncSession, intent_id: str) -> SweepRow | None:
    """The sweep behind an intent, locked."""
    row = (
        await session.execute(
            text("SELECT * FROM sweeps WHERE intent_id = :intent FOR UPDATE"),
            {"intent": intent_id},
        )
    ).one_or_none()
    if row is None:
        return None
    addresses = await session.execute(
        text("SELECT address FROM sweep_accounts WHERE sweep_id = :id ORDER BY address"),
        {"id": row.id},
    )
    return SweepRow(
        row.id,
        row.network,
        row.asset,
        row.kind,
        row.treasury,
        row.place,
        row.state,
        tuple(addresses.scalars()),
    )


async def end(session: AsyncSession, sweep_id: str, *, state: str, entry_id: str | None) -> None:
    """Close a sweep and free its addresses."""
    await session.execute(
        text(
            "UPDATE sweeps SET state = :state, entry_id = :entry, ended_at = clock_timestamp()"
            " WHERE id = :id"
        ),
        {"id": sweep_id, "state": state, "entry": entry_id},
    )
    await session.execute(
        text("UPDATE sweep_accounts SET open = false WHERE sweep_id = :id"), {"id": sweep_id}
    )


async def add_moves(
    session: AsyncSession,
    sweep: SweepRow,
    moves: Mapping[tuple[str, str], int],
    *,
    block_number: int,
) -> None:
    """Keep what the sweep did to each address; `moves`: (EIP-55 address, asset) → signed minor."""
    for (address, asset), minor in moves.items():
        if minor:
            await session.execute(
                text(
                    "INSERT INTO deposit_moves (sweep_id, network, address, asset, minor,"
                    " block_number) VALUES (:sweep, :network, :address, :asset, :minor, :block)"
                ),
                {
                    "sweep": sweep.id,
                    "network": sweep.network,
                    "address": address,
                    "asset": asset,
                    "minor": minor,
                    "block": block_number,
                },
            )


async def retire(session: AsyncSession, network: str, addresses: Sequence[str]) -> None:
    """Show these to nobody any more; they stay watched. Who asks gets a fresh one."""
    await session.execute(
        text(
            "UPDATE deposit_addresses SET is_current = false"
            " WHERE network = :network AND address = ANY(:addresses) AND is_current"
        ),
        {"network": network, "addresses": list(addresses)},
    )

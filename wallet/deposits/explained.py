"""What we know to have arrived and to lie at an address, to be held against its balance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.deposits.losses import NOW_AT

COUNTED = (
    "d.status NOT IN ('orphaned', 'ignored') AND (CAST(:doubted AS text) IS NULL"
    " OR d.id = :doubted OR d.status <> 'quarantined' OR d.entry_id IS NOT NULL)"
)
THERE = (
    "CASE WHEN l.id IS NULL THEN d.block_number <= :number"
    " WHEN l.again_block_number IS NOT NULL THEN l.again_block_number <= :number"
    # Lost, and its block stands: the node that left it was wrong; the scanner undoes the loss.
    " ELSE d.block_number <= :number AND EXISTS (SELECT FROM chain_blocks b WHERE"
    "  b.network = d.network AND b.number = d.block_number AND b.hash = d.block_hash) END"
)
"""Whether it lies there at block `number` of the chain that is followed."""
NOT_ONE = ""
"""No deposit's id: of those that are set aside none is counted."""


@dataclass(frozen=True, slots=True)
class Final:
    """The newest final block, as the scanner knows it."""

    number: int
    hash: str
    time: datetime


async def final_block(session: AsyncSession, network: str) -> Final | None:
    """None where nothing is final yet."""
    row = (
        await session.execute(
            text(
                "SELECT b.number, b.hash, b.block_time FROM scan_state s JOIN chain_blocks b"
                " ON b.network = s.network AND b.number = s.final_number"
                " WHERE s.network = :network AND s.tip_number >= s.final_number"
            ),
            {"network": network},
        )
    ).one_or_none()
    return None if row is None else Final(row.number, row.hash, row.block_time)


async def still_stands(session: AsyncSession, network: str, final: Final) -> bool:
    """Whether that block is in the lineage yet."""
    found = await session.scalar(
        text("SELECT hash FROM chain_blocks WHERE network = :network AND number = :number"),
        {"network": network, "number": final.number},
    )
    return bool(found == final.hash)


async def explained(
    session: AsyncSession,
    network: str,
    asset: str,
    addresses: Sequence[str],
    up_to: int,
    *,
    doubted: str | None = None,
) -> dict[str, int]:
    """Address → what we know to have arrived there by this block, booked or not.

    With `doubted`, the id of a deposit: of those that are set aside only this one is counted.
    """
    rows = await session.execute(
        text(
            "SELECT address, sum(minor)::numeric AS minor FROM ("
            f" SELECT d.to_address AS address, d.amount_minor AS minor FROM deposits d {NOW_AT}"
            "  WHERE d.network = :network AND d.asset = :asset AND d.to_address = ANY(:addresses)"
            f"  AND {COUNTED} AND {THERE}"
            f" UNION ALL SELECT d.from_address, -d.amount_minor FROM deposits d {NOW_AT}"
            "  WHERE d.is_move AND d.network = :network AND d.asset = :asset"
            "  AND d.from_address = ANY(:addresses)"
            f"  AND {COUNTED} AND {THERE}"
            " UNION ALL SELECT address, minor FROM deposit_moves"
            "  WHERE network = :network AND asset = :asset AND address = ANY(:addresses)"
            "  AND block_number <= :number"
            " UNION ALL SELECT address, amount_minor FROM unattributed_arrivals"
            "  WHERE network = :network AND asset = :asset AND address = ANY(:addresses)"
            "  AND deposit_id IS NULL AND at_block <= :number) AS known GROUP BY address"
        ),
        {
            "network": network,
            "asset": asset,
            "addresses": list(addresses),
            "number": up_to,
            "doubted": doubted,
        },
    )
    return {row.address: int(row.minor) for row in rows}


async def moving_out(session: AsyncSession, network: str, addresses: Sequence[str]) -> set[str]:
    """Those in a sweep whose end is not booked: their balance says nothing yet."""
    rows = await session.execute(
        text(
            "SELECT address FROM sweep_accounts"
            " WHERE network = :network AND address = ANY(:addresses) AND open"
        ),
        {"network": network, "addresses": list(addresses)},
    )
    return set(rows.scalars())

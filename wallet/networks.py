"""What the observer last wrote about each network, and the sandbox's snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.monitor import NETWORK_FRESH_SECONDS


@dataclass(frozen=True, slots=True)
class NetworkView:
    """`healthy` already counts a stale or halted network as not healthy."""

    network: str
    head_number: int | None
    as_of: datetime | None
    healthy: bool
    snapshot_block: int | None
    detail: str
    nodes_well: int


async def states(session: AsyncSession) -> dict[str, NetworkView]:
    """Every network somebody has observed, by name. Real clock."""
    rows = await session.execute(
        text(
            "SELECT network, head_number, as_of, snapshot_block, healthy AND halted_reason IS NULL"
            # Nor long after now, by a clock that was set back since.
            " AND abs(extract(epoch FROM clock_timestamp() - as_of)) < :fresh AS well,"
            " coalesce(halted_reason, detail) AS detail,"
            " (SELECT count(*) FROM network_nodes k WHERE k.network = network_state.network"
            "  AND k.state IN ('serving', 'standby')"
            "  AND abs(extract(epoch FROM clock_timestamp() - k.at)) < :fresh) AS nodes_well"
            " FROM network_state"
        ),
        {"fresh": NETWORK_FRESH_SECONDS},
    )
    return {
        row.network: NetworkView(
            row.network,
            row.head_number,
            row.as_of.astimezone(UTC) if row.as_of else None,
            bool(row.well),
            row.snapshot_block,
            row.detail,
            row.nodes_well,
        )
        for row in rows
    }

"""How much of an asset a tier should hold: outside these bounds a move is proposed."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.errors import InvalidField
from wallet.money import Money
from wallet.treasury.routes import Tier

_SET = (
    "INSERT INTO float_bounds (network, asset, tier, low_minor, high_minor, set_by)"
    " VALUES (:network, :asset, :tier, :low, :high, :by)"
    " ON CONFLICT (network, asset, tier) DO UPDATE SET low_minor = :low,"
    " high_minor = :high, set_by = :by, set_at = clock_timestamp()"
)


async def set_bounds(
    session: AsyncSession, *, network: str, tier: Tier, low: Money, high: Money, by: str
) -> None:
    """In place of those it may have. Raises InvalidField when `low` is above `high`."""
    if low.minor > high.minor:
        raise InvalidField("The lower bound is above the upper one.")
    await session.execute(
        text(_SET),
        {
            "network": network, "asset": low.asset.code, "tier": tier, "low": low.minor,
            "high": high.minor, "by": by,
        },
    )  # fmt: skip

"""From which tier to which each kind of move goes, and what is under way between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

Kind = Literal[
    "to_cold", "profit", "evacuate", "refill", "to_warm", "to_hot", "warm_to_cold", "evacuate_warm",
    "refill_warm",
]  # fmt: skip
Tier = Literal["hot", "warm", "cold"]
ROUTES: Mapping[Kind, tuple[Tier, Tier | None]] = {
    "to_cold": ("hot", "cold"),
    "to_warm": ("hot", "warm"),
    "profit": ("hot", None),
    "evacuate": ("hot", "cold"),
    "to_hot": ("warm", "hot"),
    "warm_to_cold": ("warm", "cold"),
    "evacuate_warm": ("warm", "cold"),
    "refill": ("cold", "hot"),
    "refill_warm": ("cold", "warm"),
}
"""Source and target; None: the owners."""
SHEETS = tuple(kind for kind, (source, _) in ROUTES.items() if source == "cold")
"""What nobody here can send: its coins come by a sheet that is signed cold."""


def source(kind: Kind) -> Tier:
    """The tier a move leaves."""
    return ROUTES[kind][0]


def target(kind: Kind) -> Tier | None:
    """The tier it comes to; None: the owners."""
    return ROUTES[kind][1]


async def on_its_way(session: AsyncSession, *, network: str, asset: str, tier: Tier) -> int:
    """What approved moves will bring to the tier, less what they will take, minor units."""
    minor = await session.scalar(
        text(
            "SELECT coalesce(sum(CASE WHEN kind = ANY(:comes) THEN amount_minor"
            " WHEN kind = ANY(:goes) THEN -amount_minor END), 0) FROM treasury_moves"
            " WHERE network = :network AND asset = :asset AND state = 'approved'"
        ),
        {
            "network": network, "asset": asset,
            "comes": [kind for kind in ROUTES if target(kind) == tier],
            "goes": [kind for kind in ROUTES if source(kind) == tier],
        },
    )  # fmt: skip
    return int(minor or 0)

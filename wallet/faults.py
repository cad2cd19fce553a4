"""Faults that a sandbox plays on demand. Outside it the table stays empty."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.db import Database
from wallet.errors import InvalidField

DESCRIPTIONS: dict[str, str] = {
    "rpc_drops_reply": "The node accepts a raw transaction and its answer is lost.",
    "node_away": "The node answers nothing.",
    "payout_rejected": "The receiving bank sends the payout back: the payment is returned.",
    "payout_refused": "The rail refuses the payout at the door: the payment fails, all comes back.",
    "payout_silent": "The rail takes the payout and says nothing until this is switched off.",
    "card_declined": "Every card payment is declined by the card's bank.",
    "card_late": "Card payments end 20 seconds later.",
    "card_three_d_secure": "Every card payment asks its holder to confirm it (3-D Secure).",
    "card_silent": "The card gateway takes payments and says nothing until this is switched off.",
    "card_charged_back": "Card payments made now are charged back 60 seconds after they succeed.",
    "rate_stale": "The rate feed stops; quotes answer 503 rate_stale once the last rate is old.",
}
NAMES = tuple(DESCRIPTIONS)


async def enabled(session: AsyncSession, name: str) -> bool:
    """Whether the fault is on now."""
    found = await session.execute(
        text("SELECT enabled FROM sandbox_faults WHERE name = :name"), {"name": name}
    )
    return bool(found.scalar_one_or_none())


async def switched_on(db: Database) -> list[str]:
    """The known faults that are on now; one query without a transaction."""
    names = await db.look("SELECT array_agg(name) FROM sandbox_faults WHERE enabled")
    return [name for name in names or () if name in DESCRIPTIONS]


async def all_faults(session: AsyncSession) -> dict[str, bool]:
    """Every known fault and whether it is on."""
    rows = await session.execute(text("SELECT name, enabled FROM sandbox_faults"))
    stored = {row.name: bool(row.enabled) for row in rows}
    return {name: stored.get(name, False) for name in NAMES}


async def switch(session: AsyncSession, name: str, *, on: bool) -> None:
    """Turn one fault on or off. Raises InvalidField for a name that is not known."""
    if name not in DESCRIPTIONS:
        raise InvalidField(f"Known faults: {', '.join(NAMES)}.", field="/faults")
    await session.execute(
        text(
            "INSERT INTO sandbox_faults (name, enabled) VALUES (:name, :on)"
            " ON CONFLICT (name) DO UPDATE SET enabled = :on, updated_at = clock_timestamp()"
        ),
        {"name": name, "on": on},
    )

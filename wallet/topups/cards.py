"""Bound cards: a token of the gateway and what people know the card by; never its number."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import jobs
from wallet.errors import NotFound
from wallet.ids import new_id
from wallet.topups.errors import (
    CardNotUsable,
    CardNumberRefused,
    GatewayUnavailable,
    TooManyPending,
)
from wallet.topups.gateway import CardFacts, Gateway, GatewaySilent
from wallet.topups.views import Card, card_of

FORGET = "cards.forget"
CARDS_LIMIT = 20  # bound at one time by one person
TOKEN = re.compile(r"[A-Za-z0-9_-]{8,64}", re.ASCII)
_NUMBER = re.compile(r"(?<![0-9])[0-9]{12,19}(?![0-9])", re.ASCII)


def refuse_number(token: str) -> None:
    """Raises CardNumberRefused when a card's number was sent where a token belongs.

    Called at the border, before anything is fingerprinted, stored or logged.
    """
    runs = _NUMBER.findall(re.sub(r"[\s._-]", "", token))
    if any(_luhn(run) for run in runs):
        raise CardNumberRefused(
            "This looks like a card's number. It was not kept; send the gateway's token.",
            field="/token",
        )


async def look_up(gateway: Gateway, token: str) -> CardFacts:
    """Ask the gateway, with no transaction open. Raises CardNotUsable, GatewayUnavailable."""
    refuse_number(token)
    facts = None
    if TOKEN.fullmatch(token):
        try:
            facts = await gateway.card(token)
        except GatewaySilent:
            raise GatewayUnavailable("The card gateway does not answer; try again.") from None
    if facts is None:
        raise CardNotUsable("The gateway does not know this token.", field="/token")
    return facts


async def bind(session: AsyncSession, *, principal_id: str, gateway: str, facts: CardFacts) -> Card:
    """Keep the card. The same token again gives the same card.

    Raises CardNotUsable (bound by somebody else, or removed), TooManyPending (cards).
    """
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('cards/' || :who, 0))"),
        {"who": principal_id},
    )
    known = await _by_token(session, gateway, facts.token)
    if known is None:
        if len(await bound(session, principal_id=principal_id)) >= CARDS_LIMIT:
            raise TooManyPending("Remove a card first.", extra={"max": CARDS_LIMIT})
        await session.execute(
            text(
                "INSERT INTO cards (id, principal_id, gateway, token, brand, last4, exp_month,"
                " exp_year) VALUES (:id, :who, :gateway, :token, :brand, :last4, :month, :year)"
                " ON CONFLICT (gateway, token) DO NOTHING"
            ),
            {
                "id": new_id("crd"),
                "who": principal_id,
                "gateway": gateway,
                "token": facts.token,
                "brand": facts.brand,
                "last4": facts.last4,
                "month": facts.exp_month,
                "year": facts.exp_year,
            },
        )
        known = await _by_token(session, gateway, facts.token)
    if known is None or known.principal_id != principal_id or known.removed_at is not None:
        raise CardNotUsable("The gateway does not know this token.", field="/token")
    return known


async def bound(session: AsyncSession, *, principal_id: str) -> list[Card]:
    """This person's cards, newest first; at most CARDS_LIMIT."""
    rows = await session.execute(
        text(
            "SELECT * FROM cards WHERE principal_id = :who AND removed_at IS NULL"
            " ORDER BY created_at DESC, id DESC"
        ),
        {"who": principal_id},
    )
    return [card_of(row) for row in rows.mappings()]


async def get(
    session: AsyncSession, *, principal_id: str, card_id: str, for_use: bool = False
) -> Card:
    """One card that is bound. `for_use` keeps it from being removed before the commit.

    Raises NotFound.
    """
    row = await session.execute(
        text(
            "SELECT * FROM cards WHERE id = :id AND principal_id = :who AND removed_at IS NULL"
            + (" FOR SHARE" if for_use else "")
        ),
        {"id": card_id, "who": principal_id},
    )
    found = row.mappings().one_or_none()
    if found is None:
        raise NotFound("There is no such card.")
    return card_of(found)


async def by_ids(session: AsyncSession, ids: Iterable[str | None]) -> dict[str, Card]:
    """Cards by id, removed ones too."""
    rows = await session.execute(
        text("SELECT * FROM cards WHERE id = ANY(:ids)"),
        {"ids": sorted({one for one in ids if one is not None})},
    )
    return {row["id"]: card_of(row) for row in rows.mappings()}


async def remove(session: AsyncSession, *, principal_id: str, card_id: str) -> datetime:
    """Unbind; the gateway is told by a job. A payment under way goes on. Raises NotFound."""
    row: Any = (
        await session.execute(
            text(
                "UPDATE cards SET removed_at = bifold_now() WHERE id = :id AND principal_id = :who"
                " AND removed_at IS NULL RETURNING removed_at"
            ),
            {"id": card_id, "who": principal_id},
        )
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such card.")
    await jobs.enqueue(session, FORGET, once=f"{FORGET}:{card_id}", card_id=card_id)
    at: datetime = row.removed_at
    return at


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1: the check digit that every card's number ends with."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        worth = int(digit) * (2 if place % 2 else 1)
        total += worth - 9 if worth > 9 else worth
    return total % 10 == 0


async def _by_token(session: AsyncSession, gateway: str, token: str) -> Card | None:
    row = await session.execute(
        text("SELECT * FROM cards WHERE gateway = :gateway AND token = :token"),
        {"gateway": gateway, "token": token},
    )
    found = row.mappings().one_or_none()
    return card_of(found) if found is not None else None

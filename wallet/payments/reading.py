"""Reading payments whole: with quote, recipient, legs and events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.errors import NotFound
from wallet.fx import quotes
from wallet.money import AssetBook, Money
from wallet.payments import recipients, repository
from wallet.payments.views import Event, Leg, Payment


async def get(
    session: AsyncSession, *, assets: AssetBook, principal_id: str, payment_id: str
) -> Payment:
    """One payment of this principal. Raises NotFound."""
    row = await repository.find(session, principal_id=principal_id, payment_id=payment_id)
    if row is None:
        raise NotFound("There is no such payment.")
    return (await whole(session, [row], assets))[0]


async def page(
    session: AsyncSession,
    *,
    assets: AssetBook,
    principal_id: str,
    limit: int,
    cursor: tuple[datetime, str] | None,
) -> list[Payment]:
    """Newest first, `limit + 1` at most, so that the caller sees whether there are more."""
    rows = await repository.page(session, principal_id=principal_id, limit=limit, cursor=cursor)
    return await whole(session, rows, assets)


async def whole(
    session: AsyncSession, rows: Sequence[RowMapping], assets: AssetBook
) -> list[Payment]:
    """These payments with all that belongs to them: four queries, however many payments."""
    ids = [row["id"] for row in rows]
    related = repository.related
    quote_ids = [row["quote_id"] for row in rows]
    recipient_ids = [row["recipient_id"] for row in rows]
    by_quote = {
        row["id"]: quotes.view(row, assets)
        for row in await related(session, "quotes", "id", quote_ids, order="id")
    }
    by_recipient = {
        row["id"]: recipients.view(row)
        for row in await related(session, "recipients", "id", recipient_ids, order="id")
    }
    legs: dict[str, list[Leg]] = defaultdict(list)
    for row in await related(session, "payment_legs", "payment_id", ids, order="position"):
        money = assets.money(row["asset"], row["amount_minor"])
        legs[row["payment_id"]].append(
            Leg(row["kind"], row["status"], money, row["reference"], row["at"])
        )
    events: dict[str, list[Event]] = defaultdict(list)
    for row in await related(session, "payment_events", "payment_id", ids, order="id"):
        events[row["payment_id"]].append(Event(row["type"], row["at"], row["detail"]))
    return [
        _payment(
            row,
            by_quote[row["quote_id"]],
            by_recipient[row["recipient_id"]],
            tuple(legs[row["id"]]),
            tuple(events[row["id"]]),
        )
        for row in rows
    ]


def _payment(
    row: RowMapping,
    quote: quotes.Quote,
    recipient: recipients.Recipient,
    legs: tuple[Leg, ...],
    events: tuple[Event, ...],
) -> Payment:
    refund = row["refund_minor"]
    return Payment(
        id=row["id"],
        uetr=str(row["uetr"]),
        principal_id=row["principal_id"],
        status=row["status"],
        reason=row["reason"],
        quote=quote,
        recipient=recipient,
        corridor=row["corridor"],
        rail=row["rail"],
        purpose=row["purpose"],
        reference=row["reference"],
        travel_rule=row["travel_rule"],
        waiting_for=row["waiting_for"],
        waiting_until=row["waiting_until"],
        refund=Money(int(refund), quote.source.asset) if refund is not None else None,
        legs=legs,
        events=events,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        ended_at=row["ended_at"],
    )

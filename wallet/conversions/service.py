"""The conversion flow: spend a quote in one entry, at once and for good."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import clock, ledger
from wallet.conversions import repository
from wallet.crashpoints import hit
from wallet.errors import NotFound
from wallet.fx import quotes
from wallet.fx.exchange_lines import exchange_lines
from wallet.ids import new_id
from wallet.ledger.accounts import customer
from wallet.money import AssetBook, Money
from wallet.outbox import Notice


@dataclass(frozen=True, slots=True)
class Conversion:
    """A completed conversion."""

    id: str
    principal_id: str
    status: str
    quote_id: str
    source: Money
    target: Money
    rate: str
    total_cost: Money
    entry_id: str
    created_at: datetime


async def create(
    session: AsyncSession, *, assets: AssetBook, principal_id: str, quote_id: str
) -> Conversion:
    """Convert now by a live quote of this principal.

    Raises NotFound, InvalidField, QuoteUsed, QuoteExpired, InsufficientFunds, AccountFrozen.
    """
    conversion_id = new_id("cnv")
    quote = await quotes.take(
        session,
        assets=assets,
        principal_id=principal_id,
        quote_id=quote_id,
        kind="conversion",
        used_by=conversion_id,
    )
    at = await clock.now(session)
    source, target = quote.source, quote.target
    entry_id = await ledger.post(
        session,
        ledger.Command(
            kind="conversion",
            ref=conversion_id,
            event_at=at,
            lines=exchange_lines(
                quote,
                giver=customer(principal_id, source.asset.code),
                taker=customer(principal_id, target.asset.code),
            ),
            meta={"quote_id": quote.id, "rate": quote.rate, "mid_rate": quote.mid_rate},
            notices=[
                Notice(
                    principal_id,
                    "conversion.completed",
                    conversion_id,
                    {
                        "conversion_id": conversion_id,
                        "quote_id": quote.id,
                        "source": source.json(),
                        "target": target.json(),
                        "rate": quote.rate,
                    },
                )
            ],
        ),
    )
    assert entry_id is not None
    hit("conversion.posted")
    await repository.insert(
        session,
        {
            "id": conversion_id,
            "principal_id": principal_id,
            "quote_id": quote.id,
            "status": "completed",
            "source_asset": source.asset.code,
            "source_minor": source.minor,
            "target_asset": target.asset.code,
            "target_minor": target.minor,
            "entry_id": entry_id,
            "created_at": at,
        },
    )
    hit("conversion.stored")
    return Conversion(
        conversion_id,
        principal_id,
        "completed",
        quote.id,
        source,
        target,
        quote.rate,
        quote.total_cost,
        entry_id,
        at,
    )


async def get(
    session: AsyncSession, *, assets: AssetBook, principal_id: str, conversion_id: str
) -> Conversion:
    """One conversion of this principal. Raises NotFound."""
    row = await repository.find(session, principal_id=principal_id, conversion_id=conversion_id)
    if row is None:
        raise NotFound("There is no such conversion.")
    return _view(row, assets)


async def page(
    session: AsyncSession,
    *,
    assets: AssetBook,
    principal_id: str,
    limit: int,
    cursor: tuple[datetime, str] | None,
) -> list[Conversion]:
    """Newest first, `limit + 1` at most, so that the caller sees whether there are more."""
    rows = await repository.page(session, principal_id=principal_id, limit=limit, cursor=cursor)
    return [_view(row, assets) for row in rows]


def _view(row: RowMapping, assets: AssetBook) -> Conversion:
    source = assets.money(row["source_asset"], row["source_minor"])
    cost = int(row["spread_minor"]) + int(row["fee_minor"])
    return Conversion(
        id=row["id"],
        principal_id=row["principal_id"],
        status=row["status"],
        quote_id=row["quote_id"],
        source=source,
        target=assets.money(row["target_asset"], row["target_minor"]),
        rate=quotes.rate_text(row["rate"]),
        total_cost=Money(cost, source.asset),
        entry_id=row["entry_id"],
        created_at=row["created_at"],
    )

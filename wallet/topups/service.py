"""Beginning a top-up and reading it. What happens in between is `tasks.py` and `incoming.py`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import clock, jobs, outbox
from wallet.crashpoints import hit
from wallet.errors import InvalidField, NotFound
from wallet.ids import new_id
from wallet.money import AssetBook, Money
from wallet.outbox import Notice
from wallet.payouts.rails import Rail
from wallet.topups import cards, repository
from wallet.topups.errors import TooManyPending
from wallet.topups.references import reference_of
from wallet.topups.states import Method
from wallet.topups.views import BankDetails, Topup, topup_of

ADVANCE = "topups.advance"
PENDING_LIMIT = 20  # top-ups of one person that have not ended
CARD_SECONDS = 15 * 60  # how long somebody has to confirm; then the gateway is told to stop
TRANSFER_SECONDS = 30 * 86_400  # how long an announced transfer is waited for
HOLDER = "Bifold"


@dataclass(frozen=True, slots=True)
class TopupDraft:
    """What is asked for. `source`: a bound card's id, where the method is `card`."""

    money: Money
    method: Method
    source: str | None = None


async def create(
    session: AsyncSession, *, assets: AssetBook, principal_id: str, draft: TopupDraft
) -> Topup:
    """Promise a top-up: nothing is credited before the gateway or the bank has the money.

    Raises InvalidField, NotFound (card), TooManyPending.
    """
    if draft.money.asset.kind != "fiat":
        raise InvalidField("A top-up is fiat.", field="/money/asset")
    card = None
    if draft.method == "card":
        if draft.source is None:
            raise InvalidField("Name one of your cards.", field="/source")
        try:
            card = await cards.get(
                session, principal_id=principal_id, card_id=draft.source, for_use=True
            )
        except NotFound:
            raise InvalidField("There is no such card.", field="/source") from None
    elif draft.source is not None:
        raise InvalidField("A bank transfer has no source here.", field="/source")
    if await repository.count_pending(session, principal_id=principal_id) >= PENDING_LIMIT:
        raise TooManyPending(
            "Wait until one of your top-ups has ended.", extra={"max": PENDING_LIMIT}
        )
    if card is None:
        await reference_of(session, principal_id)  # from now on it is only read
    now = await clock.now(session)
    topup_id = new_id("top")
    expires_at = now + timedelta(seconds=CARD_SECONDS if card else TRANSFER_SECONDS)
    await repository.insert(
        session,
        {
            "id": topup_id,
            "principal_id": principal_id,
            "method": draft.method,
            "asset": draft.money.asset.code,
            "amount_minor": draft.money.minor,
            "status": "pending",
            "card_id": card.id if card else None,
            "waiting_for": "gateway_answer" if card else "bank_transfer",
            "next_at": now if card else expires_at,
            "expires_at": expires_at,
        },
    )
    await outbox.put(session, notice(principal_id, topup_id, draft.money, draft.method, "pending"))
    if card is not None:
        await jobs.enqueue(session, ADVANCE, once=f"{ADVANCE}:{topup_id}", topup_id=topup_id)
    hit("topup.stored")
    return await get(session, assets=assets, principal_id=principal_id, topup_id=topup_id)


async def get(
    session: AsyncSession, *, assets: AssetBook, principal_id: str, topup_id: str
) -> Topup:
    """One of this principal's. Raises NotFound."""
    row = await repository.get(session, principal_id=principal_id, topup_id=topup_id)
    if row is None:
        raise NotFound("There is no such top-up.")
    return (await _whole(session, [row], assets))[0]


async def page(
    session: AsyncSession,
    *,
    assets: AssetBook,
    principal_id: str,
    limit: int,
    cursor: tuple[datetime, str] | None,
) -> list[Topup]:
    """At most `limit + 1`, newest first, so that the caller sees whether there are more."""
    rows = await repository.page(session, principal_id=principal_id, limit=limit, cursor=cursor)
    return await _whole(session, list(rows), assets)


async def bank_details(
    session: AsyncSession, bank: Rail, *, assets: AssetBook, principal_id: str, asset: str
) -> BankDetails:
    """Where this person sends `asset`; their reference is made the first time. Raises InvalidField
    for an asset that no bank carries, UnknownAsset."""
    if assets.get(asset, field="/query/asset").kind != "fiat":
        raise InvalidField("Bank transfers are fiat.", field="/query/asset")
    return BankDetails(
        asset=asset,
        bank=bank.title,
        holder=HOLDER,
        account=bank.account_number(asset),
        reference=await reference_of(session, principal_id),
        simulated=bank.simulated,
    )


def notice(
    principal_id: str, topup_id: str, money: Money, method: str, status: str, **more: Any
) -> Notice:
    """What the owner is told."""
    data = {
        "topup_id": topup_id,
        "money": money.json(),
        "method": method,
        "status": "pending" if status == "action_needed" else status,
        **more,
    }
    return Notice(principal_id, f"topup.{status}", topup_id, data)


async def _whole(session: AsyncSession, rows: list[RowMapping], assets: AssetBook) -> list[Topup]:
    known = await cards.by_ids(session, (row["card_id"] for row in rows))
    return [topup_of(row, assets, known.get(row["card_id"] or "")) for row in rows]

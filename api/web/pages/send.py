"""Send to somebody here: instant, free, final."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from api.web import drafts
from api.web.forms import money_of
from api.web.holdings import Holding, spendable
from api.web.once import new_key, once
from api.web.route import WebRoute
from api.web.visit import Visit, member
from wallet import identity, transfers
from wallet.db import Session
from wallet.errors import SelfTransfer, WalletError
from wallet.identity import User
from wallet.ledger.errors import InsufficientFunds
from wallet.money import Money
from wallet.notes import clean_note

FLOW = "send"
FIELDS = ("to", "amount", "asset", "note")

router = APIRouter(route_class=WebRoute, include_in_schema=False)
Member = Annotated[Visit, Depends(member)]


@router.get("/send")
async def enter(visit: Member) -> Response:
    """The form, with what was typed before."""
    values = drafts.recall(visit, FLOW)
    for name in FIELDS:
        if name in visit.request.query_params:
            values[name] = visit.request.query_params[name][:320]
    async with visit.services.db.snapshot() as session:
        held = await spendable(session, visit.services, visit.member.id)
    return visit.page("send.html", values=values, errors=drafts.told(visit), holdings=held)


@router.post("/send")
async def check(visit: Member) -> Response:
    """Check what was typed, keep it, go on to the review."""
    values = {name: value.strip() for name, value in (await visit.form()).items()}
    drafts.keep(visit, FLOW, {name: values.get(name, "") for name in FIELDS})
    try:
        await understood(visit, values)
    except WalletError as error:
        return drafts.tell(visit, "/send", error)
    return visit.go("/send/review")


@router.get("/send/review")
async def review(visit: Member) -> Response:
    """A sentence that says exactly what will happen."""
    values = drafts.recall(visit, FLOW)
    if not values:
        return visit.go("/send")
    try:
        payee, money = await understood(visit, values)
    except WalletError as error:
        return drafts.tell(visit, "/send", error)
    return visit.page("send_review.html", values=values, payee=payee, amount=money, key=new_key())


@router.post("/send/confirm")
async def confirm(visit: Member) -> Response:
    """Move it, once."""
    values = await visit.form()
    try:
        money = money_of(visit, values)

        async def work(session: Session) -> str:
            made = await transfers.create(
                session,
                payer_id=visit.member.id,
                to=values.get("to", ""),
                money=money,
                note=values.get("note") or None,
            )
            return f"/activity/{made.id}?done=1"

        path = await once(visit, values, work)
    except WalletError as error:
        return drafts.tell(visit, "/send", error, at=_at(error))
    drafts.forget(visit, FLOW)
    return visit.go(path)


async def understood(visit: Visit, values: dict[str, str]) -> tuple[User, Money]:
    """Payee and money of the form. Raises what the flow would refuse with, with its field."""
    async with visit.services.db.snapshot() as session:
        payee = await identity.find_recipient(session, values.get("to", ""))
        if payee.id == visit.member.id:
            raise SelfTransfer("You cannot send to yourself.", field="/to")
        money = money_of(visit, values)
        clean_note(values.get("note"))
        held = await spendable(session, visit.services, visit.member.id)
    covered(held, money)
    return payee, money


def covered(held: list[Holding], money: Money) -> None:
    """Raises InsufficientFunds beside the amount when there is not that much."""
    have = next((one.available.minor for one in held if one.asset.code == money.asset.code), 0)
    if have < money.minor:
        raise InsufficientFunds("The available balance does not cover this.", field="/money/amount")


def _at(error: WalletError) -> str:
    return "/money/amount" if error.code == "insufficient_funds" else error.field or ""

"""Withdraw: to an address outside, with a fee that is bounded before anybody says yes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from api.state import state_of
from api.web import drafts
from api.web.forms import money_of
from api.web.holdings import Holding, spendable
from api.web.once import new_key, once
from api.web.pages.send import covered
from api.web.route import WebRoute
from api.web.visit import Visit, member
from wallet import withdrawals
from wallet.db import Session
from wallet.errors import WalletError
from wallet.ledger.errors import InsufficientFunds
from wallet.money import AmountError, parse_amount
from wallet.withdrawals import Plan

FLOW = "withdraw"
FIELDS = ("network", "to_address", "amount", "asset")

router = APIRouter(route_class=WebRoute, include_in_schema=False)
Member = Annotated[Visit, Depends(member)]


@router.get("/withdraw")
async def enter(visit: Member) -> Response:
    """The form, with what was typed before."""
    async with visit.services.db.snapshot() as session:
        held = await spendable(session, visit.services, visit.member.id)
    return visit.page(
        "withdraw.html",
        values=drafts.recall(visit, FLOW),
        errors=drafts.told(visit),
        holdings=[one for one in held if _leaves(visit, one)],
        networks=[(name, name) for name in visit.services.networks],
    )


@router.post("/withdraw")
async def check(visit: Member) -> Response:
    """Check address and amount, ask the network for its price, go on to the review."""
    values = {name: value.strip() for name, value in (await visit.form()).items()}
    drafts.keep(visit, FLOW, {name: values.get(name, "") for name in FIELDS})
    try:
        await _planned(visit, values)
    except WalletError as error:
        return drafts.tell(visit, "/withdraw", error, at=_at(error))
    return visit.go("/withdraw/review")


@router.get("/withdraw/review")
async def review(visit: Member) -> Response:
    """The whole address, the amount, and the most it can cost."""
    values = drafts.recall(visit, FLOW)
    if not values:
        return visit.go("/withdraw")
    try:
        plan = await _planned(visit, values)
    except WalletError as error:
        return drafts.tell(visit, "/withdraw", error, at=_at(error))
    return visit.page(
        "withdraw_review.html",
        values=values,
        plan=plan,
        most=plan.money + plan.terms.bound,
        key=new_key(),
        errors=drafts.told(visit),
    )


@router.post("/withdraw/confirm")
async def confirm(visit: Member) -> Response:
    """Promise it, once, at no more than the fee that was shown."""
    values = await visit.form()
    planned: list[Plan] = []

    async def plan() -> None:
        planned.append(await _planned(visit, values))

    async def work(session: Session) -> str:
        made = await withdrawals.create(
            session,
            principal_id=visit.member.id,
            plan=planned[-1],
            assets=visit.services.assets,
        )
        return f"/activity/{made.id}?done=1"

    try:
        path = await once(visit, values, work, before=plan)
    except WalletError as error:
        if error.code == "max_fee_too_low":
            return drafts.tell(visit, "/withdraw/review", error, at="")
        return drafts.tell(visit, "/withdraw", error, at=_at(error))
    drafts.forget(visit, FLOW)
    return visit.go(path)


@router.post("/withdraw/{withdrawal_id}/cancel")
async def cancel(visit: Member, withdrawal_id: str) -> Response:
    """Take it back: at once while it is held, else by a replacement that may come too late."""
    values = await visit.form()

    async def work(session: Session) -> str:
        made = await withdrawals.cancel(
            session,
            principal_id=visit.member.id,
            withdrawal_id=withdrawal_id,
            assets=visit.services.assets,
            networks=visit.services.networks,
        )
        return f"/activity/{made.id}"

    return visit.go(await once(visit, values, work))


@router.post("/withdraw/{withdrawal_id}/speed-up")
async def speed_up(visit: Member, withdrawal_id: str) -> Response:
    """Send it again with higher fees, inside the bound that is held."""
    values = await visit.form()

    async def work(session: Session) -> str:
        made = await withdrawals.speed_up(
            session,
            principal_id=visit.member.id,
            withdrawal_id=withdrawal_id,
            assets=visit.services.assets,
            networks=visit.services.networks,
        )
        return f"/activity/{made.id}"

    return visit.go(await once(visit, values, work))


async def _planned(visit: Visit, values: dict[str, str]) -> Plan:
    """The withdrawal as it would be made now, within the fee shown if one was shown."""
    services = visit.services
    money = money_of(visit, values)
    shown = values.get("max_fee")
    try:
        limit = parse_amount(shown, money.asset) if shown else None
    except AmountError:
        limit = None
    plan = await state_of(visit.request).planner.plan(
        network=values.get("network", ""),
        money=money,
        to_address=values.get("to_address", ""),
        max_fee=limit,
        principal_id=visit.member.id,
    )
    async with services.db.snapshot() as session:
        held = await spendable(session, services, visit.member.id)
    covered(held, money)
    try:
        covered(held, money + plan.terms.bound)
    except InsufficientFunds:
        raise _NotWithFee(
            "The fee does not fit beside this amount.", field="/money/amount"
        ) from None
    return plan


class _NotWithFee(WalletError):
    """There is enough for the amount, not for the fee bound beside it."""

    code = "insufficient_funds_for_fee"


def _at(error: WalletError) -> str:
    return "/money/amount" if error.code == "insufficient_funds" else error.field or ""


def _leaves(visit: Visit, one: Holding) -> bool:
    """Whether any network carries this asset."""
    return any(
        visit.services.network_asset(name, one.asset.code) for name in visit.services.networks
    )

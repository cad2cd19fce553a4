"""Hold: set money aside for somebody, who takes it in parts or whole; either side gives it back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from api.web import drafts
from api.web.forms import money_of
from api.web.holdings import spendable
from api.web.once import new_key, once_together
from api.web.pages.send import understood
from api.web.route import WebRoute
from api.web.visit import Visit, member
from api.web.words import HOLD_TIMES
from wallet import holds
from wallet.errors import InvalidField, NotFound, WalletError
from wallet.holds import Capture, Hold, HoldWanted
from wallet.ids import is_id

FLOW = "hold"
FIELDS = ("to", "amount", "asset", "seconds", "note")
LONG_ENOUGH = "86400"

router = APIRouter(route_class=WebRoute, include_in_schema=False)
Member = Annotated[Visit, Depends(member)]


@router.get("/hold")
async def enter(visit: Member) -> Response:
    """The form, with what was typed before."""
    async with visit.services.db.snapshot() as session:
        held = await spendable(session, visit.services, visit.member.id)
    return visit.page(
        "hold.html",
        values={"seconds": LONG_ENOUGH, **drafts.recall(visit, FLOW)},
        errors=drafts.told(visit),
        holdings=held,
        times=[(str(seconds), visit.t(words)) for seconds, words in HOLD_TIMES.items()],
    )


@router.post("/hold")
async def check(visit: Member) -> Response:
    """Check what was typed, keep it, go on to the review."""
    values = {name: value.strip() for name, value in (await visit.form()).items()}
    drafts.keep(visit, FLOW, {name: values.get(name, "") for name in FIELDS})
    try:
        await understood(visit, values)
        _seconds(values)
    except WalletError as error:
        return drafts.tell(visit, "/hold", error)
    return visit.go("/hold/review")


@router.get("/hold/review")
async def review(visit: Member) -> Response:
    """A sentence that says exactly what will happen, and until when."""
    values = drafts.recall(visit, FLOW)
    if not values:
        return visit.go("/hold")
    try:
        payee, money = await understood(visit, values)
        time = visit.t(HOLD_TIMES[_seconds(values)])
    except WalletError as error:
        return drafts.tell(visit, "/hold", error)
    return visit.page(
        "hold_review.html", values=values, payee=payee, amount=money, time=time, key=new_key()
    )


@router.post("/hold/confirm")
async def confirm(visit: Member) -> Response:
    """Set it aside, once."""
    values = await visit.form()
    try:
        wanted = HoldWanted(
            payer_id=visit.member.id,
            to=values.get("to", ""),
            money=money_of(visit, values),
            expires_in_seconds=_seconds(values),
            note=values.get("note") or None,
        )
        flow = holds.OpenFlow(visit.services.settings.holds_per_payer)
        path = await once_together(visit, values, flow, wanted, _done)
    except WalletError as error:
        at = "/money/amount" if error.code == "insufficient_funds" else None
        return drafts.tell(visit, "/hold", error, at=at)
    drafts.forget(visit, FLOW)
    return visit.go(path)


@router.post("/hold/{hold_id}/capture")
async def capture(visit: Member, hold_id: str) -> Response:
    """The payee takes the amount of the form, at most what remains."""
    values = await visit.form()
    flow = holds.CaptureFlow(visit.services.assets)
    receipt = f"/activity/{_known(hold_id)}"
    try:
        wanted = Capture(visit.member.id, hold_id, money_of(visit, values))
        return visit.go(await once_together(visit, values, flow, wanted, _done))
    except NotFound:
        raise
    except WalletError as error:
        at = "/money/amount" if error.code == "hold_exceeded" else error.field or ""
        return drafts.tell(visit, receipt, error, at=at)


@router.post("/hold/{hold_id}/void")
async def void(visit: Member, hold_id: str) -> Response:
    """Either side gives back what remains."""
    values = await visit.form()
    flow = holds.VoidFlow(visit.services.assets)
    receipt = f"/activity/{_known(hold_id)}"
    try:
        wanted = Capture(visit.member.id, hold_id, None)
        return visit.go(await once_together(visit, values, flow, wanted, _done))
    except NotFound:
        raise
    except WalletError as error:
        return drafts.tell(visit, receipt, error, at="")


def _done(hold: Hold) -> str:
    return f"/activity/{hold.id}?done=1"


def _known(hold_id: str) -> str:
    if not is_id(hold_id, "hld"):
        raise NotFound("There is no such hold.")
    return hold_id


def _seconds(values: dict[str, str]) -> int:
    """One of the times on offer."""
    text = values.get("seconds", "")
    if text not in {str(seconds) for seconds in HOLD_TIMES}:
        raise InvalidField("Choose one of the times.", field="/seconds")
    return int(text)

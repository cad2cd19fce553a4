"""Convert: ask, look at a locked price, take it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from api.web import drafts
from api.web.forms import amount_text
from api.web.holdings import spendable
from api.web.once import new_key, once
from api.web.pages.send import covered
from api.web.route import WebRoute
from api.web.visit import Visit, member
from wallet import clock, conversions
from wallet.db import Session
from wallet.errors import WalletError
from wallet.fx import quotes
from wallet.fx.quotes import QuoteDraft

FLOW = "convert"

router = APIRouter(route_class=WebRoute, include_in_schema=False)
Member = Annotated[Visit, Depends(member)]


@router.get("/convert")
async def enter(visit: Member) -> Response:
    """The form, with what was typed before."""
    async with visit.services.db.snapshot() as session:
        held = await spendable(session, visit.services, visit.member.id)
    return visit.page(
        "convert.html",
        values=drafts.recall(visit, FLOW),
        errors=drafts.told(visit),
        holdings=held,
        targets=list(visit.services.assets),
        key=new_key(),
    )


@router.post("/convert")
async def ask(visit: Member) -> Response:
    """Lock a price for what was typed; the same form again asks for a fresh one."""
    values = {name: value.strip() for name, value in (await visit.form()).items()}
    drafts.keep(visit, FLOW, {n: values.get(n, "") for n in ("amount", "asset", "target")})
    services = visit.services

    async def work(session: Session) -> str:
        draft = QuoteDraft.parse(
            services.assets,
            source_asset=values.get("asset"),
            target_asset=values.get("target"),
            kind="conversion",
            source_amount=amount_text(values.get("amount", "")),
        )
        assert draft.source_amount is not None
        covered(await spendable(session, services, visit.member.id), draft.source_amount)
        made = await quotes.create(
            session, assets=services.assets, principal_id=visit.member.id, draft=draft
        )
        return f"/convert/{made.id}"

    try:
        return visit.go(await once(visit, values, work))
    except WalletError as error:
        return drafts.tell(visit, "/convert", error, at=_at(error))


@router.get("/convert/{quote_id}")
async def review(visit: Member, quote_id: str) -> Response:
    """The locked price with everything in it, and how long it holds."""
    async with visit.services.db.snapshot() as session:
        quote = await quotes.get(
            session,
            assets=visit.services.assets,
            principal_id=visit.member.id,
            quote_id=quote_id,
        )
        now = await clock.now(session)
    return visit.page(
        "convert_review.html",
        quote=quote,
        now=now,
        over=quote.expires_at <= now or quote.used_at is not None,
        key=new_key(),
        fresh_key=new_key(),
        errors=drafts.told(visit),
    )


@router.post("/convert/{quote_id}/confirm")
async def confirm(visit: Member, quote_id: str) -> Response:
    """Take the price."""
    values = await visit.form()

    async def work(session: Session) -> str:
        made = await conversions.create(
            session,
            assets=visit.services.assets,
            principal_id=visit.member.id,
            quote_id=quote_id,
        )
        return f"/activity/{made.id}?done=1"

    try:
        path = await once(visit, values, work)
    except WalletError as error:
        if error.code == "not_found":
            raise
        return drafts.tell(visit, f"/convert/{quote_id}", error, at="")
    drafts.forget(visit, FLOW)
    return visit.go(path)


def _at(error: WalletError) -> str:
    """Amounts of quotes are told at their own pointers; the form has one amount."""
    if error.field in ("/source_amount", "/target_amount", "/money/amount"):
        return "/money/amount"
    return {"/source_asset": "/money/asset", "/target_asset": "/target"}.get(error.field or "", "")

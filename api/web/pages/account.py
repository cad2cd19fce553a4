"""Limits and settings: who one is here, what may leave, where one is signed in."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from api.web import drafts
from api.web.route import WebRoute
from api.web.visit import Visit, member
from api.web.wallet_words import PROVING, spoken, wallet_refusal
from wallet import identity
from wallet.errors import WalletError
from wallet.identity import wallets
from wallet.money import FIAT, Money
from wallet.risk import limits

FLOW = "settings"

router = APIRouter(route_class=WebRoute, include_in_schema=False)
Member = Annotated[Visit, Depends(member)]


@router.get("/limits")
async def limits_page(visit: Member) -> Response:
    """What may leave in 24 hours, and what has."""
    async with visit.services.db.snapshot() as session:
        usage = await limits.usage(session, visit.member.id)
    euro = visit.services.assets.get("EUR")
    return visit.page(
        "limits.html",
        limit=Money(usage.limit_minor, euro),
        used=Money(usage.used_minor, euro),
        remaining=Money(usage.remaining_minor, euro),
        hours=usage.window_seconds // 3600,
    )


@router.get("/settings")
async def settings_page(visit: Member) -> Response:
    """Name, handle, currency, browser wallets, sessions."""
    person = visit.member
    errors = drafts.told(visit)
    async with visit.services.db.snapshot() as session:
        living = await identity.live_sessions(session, principal_id=person.id)
        linked = await wallets.wallets(session, principal_id=person.id)
    known = {
        "display_name": person.display_name,
        "handle": person.handle,
        "display_asset": person.display_asset,
    }
    return visit.page(
        "settings.html",
        errors=errors,
        values={**known, **drafts.recall(visit, FLOW)},
        sessions=living,
        wallets=linked,
        wallet_problem=wallet_refusal(errors["/wallets"], visit) if "/wallets" in errors else "",
        chain_names={n.chain_id: n.name for n in visit.services.networks.values()},
        words=spoken(PROVING, visit),
        currencies=FIAT,
        saved=visit.request.query_params.get("saved") == "1",
    )


@router.post("/settings")
async def change_settings(visit: Member) -> Response:
    """Change what the form gives."""
    fields = await visit.form()
    display = fields.get("display_asset", visit.member.display_asset)
    try:
        visit.services.assets.get(display, field="/display_asset")
        async with visit.services.db.transaction() as session:
            await identity.change_user(
                session,
                user_id=visit.member.id,
                display_name=fields.get("display_name"),
                handle=fields.get("handle") or None,
                display_asset=display,
            )
    except WalletError as error:
        drafts.keep(visit, FLOW, fields)
        return drafts.tell(visit, "/settings", error)
    drafts.forget(visit, FLOW)
    return visit.go("/settings?saved=1")


@router.post("/settings/sessions/{session_id}/revoke")
async def revoke(visit: Member, session_id: str) -> Response:
    """End one session, this one included."""
    await visit.form()
    async with visit.services.db.transaction() as session:
        await identity.revoke(session, principal_id=visit.member.id, session_id=session_id)
    return visit.go("/settings#sessions")

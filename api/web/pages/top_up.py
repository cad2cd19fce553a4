"""Top up: by a bound card, or where to send a bank transfer. The sandbox alone has these pages.

The card's form and the page on which its holder confirms stand in for the gateway's and the bank's
own; both say that they are simulated, and neither has a field for a number.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from api.authentication import client_of
from api.gateway import bank_of, gateway_of
from api.web import drafts
from api.web.forms import money_of
from api.web.once import new_key, once
from api.web.route import WebRoute
from api.web.visit import Visit, member
from wallet import topups
from wallet.db import Session
from wallet.errors import NotFound, WalletError
from wallet.ids import is_id
from wallet.topups import Topup, TopupDraft, cards, tries
from wallet.topups.references import spaced
from wallet.topups.simgate_cards import TEST_CARDS

FLOW = "top_up"
DEFAULT_ASSET = "EUR"

router = APIRouter(route_class=WebRoute, include_in_schema=False)
Member = Annotated[Visit, Depends(member)]


@router.get("/top-up")
async def enter(visit: Member) -> Response:
    """Both ways, side by side."""
    services = visit.services
    fiat = [asset for asset in services.assets if asset.kind == "fiat"]
    asked = visit.request.query_params.get("asset", DEFAULT_ASSET)
    code = asked if asked in {asset.code for asset in fiat} else DEFAULT_ASSET

    async def read(session: Session) -> tuple[list[topups.Card], topups.BankDetails]:
        bound = await cards.bound(session, principal_id=visit.member.id)
        details = await topups.bank_details(
            session,
            bank_of(services),
            assets=services.assets,
            principal_id=visit.member.id,
            asset=code,
        )
        return bound, details

    bound, details = await services.db.run(read)
    return visit.page(
        "top_up.html",
        cards=bound,
        details=details,
        reference=spaced(details.reference),
        fiat=fiat,
        test_cards=list(TEST_CARDS.values()),
        values=drafts.recall(visit, FLOW),
        errors=drafts.told(visit),
        key=new_key(),
    )


@router.post("/top-up")
async def pay(visit: Member) -> Response:
    """From a card."""
    values = {name: value.strip() for name, value in (await visit.form()).items()}
    drafts.keep(visit, FLOW, {n: values.get(n, "") for n in ("amount", "asset", "card")})

    async def work(session: Session) -> str:
        money = money_of(visit, values)
        made = await topups.create(
            session,
            assets=visit.services.assets,
            principal_id=visit.member.id,
            draft=TopupDraft(money, "card", values.get("card") or None),
        )
        return f"/activity/{made.id}"

    async def count() -> None:
        await _count(visit, "pay")

    try:
        path = await once(visit, values, work, before=count)
    except WalletError as error:
        if error.field == "/source":
            error.field = "/card"  # as the form calls it
        return drafts.tell(visit, "/top-up", error)
    drafts.forget(visit, FLOW)
    return visit.go(path)


@router.post("/top-up/cards")
async def bind(visit: Member) -> Response:
    """A simulated card: tokenised at the simulated gateway, then bound by its token."""
    fields = await visit.form()
    gateway = gateway_of(visit.services)
    try:
        await _count(visit, "bind")
        made = await gateway.tokenise(fields.get("test_card", ""))
        facts = await cards.look_up(gateway, made.token)

        async def work(session: Session) -> None:
            await cards.bind(
                session, principal_id=visit.member.id, gateway=gateway.name, facts=facts
            )

        await visit.services.db.run(work)
    except WalletError as error:
        return drafts.tell(visit, "/top-up", error)
    return visit.go("/top-up")


@router.post("/top-up/cards/{card_id}/remove")
async def remove(visit: Member, card_id: str) -> Response:
    """Unbind one."""
    await visit.form()
    if not is_id(card_id, "crd"):
        raise NotFound("There is no such card.")

    async def work(session: Session) -> None:
        await cards.remove(session, principal_id=visit.member.id, card_id=card_id)

    await visit.services.db.run(work)
    return visit.go("/top-up")


@router.get("/top-up/{topup_id}/check")
async def check(visit: Member, topup_id: str) -> Response:
    """Where the card's holder confirms: the simulated bank's page."""
    return visit.page(
        "top_up_check.html", topup=await _mine(visit, topup_id), errors=drafts.told(visit)
    )


@router.post("/top-up/{topup_id}/check")
async def answer(visit: Member, topup_id: str) -> Response:
    """Confirm or refuse, as the card's holder."""
    fields = await visit.form()
    found = await _mine(visit, topup_id)
    try:
        await gateway_of(visit.services).confirm(found.id, agreed=fields.get("agreed") == "yes")
    except WalletError as error:
        return drafts.tell(visit, f"/top-up/{found.id}/check", error, at="")
    return visit.go(f"/activity/{found.id}")


async def _count(visit: Visit, what: tries.What) -> None:
    client = client_of(visit.request)
    await tries.count_try(visit.services.db, what, principal_id=visit.member.id, client=client)


async def _mine(visit: Visit, topup_id: str) -> Topup:
    """Raises NotFound for another's, for one that is none, and for one without a card."""
    if not is_id(topup_id, "top"):
        raise NotFound("There is no such top-up.")
    async with visit.services.db.snapshot() as session:
        found = await topups.get(
            session,
            assets=visit.services.assets,
            principal_id=visit.member.id,
            topup_id=topup_id,
        )
    if found.card is None:
        raise NotFound("There is no such top-up.")
    return found

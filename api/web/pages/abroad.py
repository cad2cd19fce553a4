"""Send abroad: corridor, recipient, price, review; then the timeline of the payment."""

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
from api.web.words import PURPOSES
from wallet import clock
from wallet.db import Session
from wallet.errors import InvalidField, NotFound, WalletError
from wallet.fx import corridors, quotes
from wallet.fx.corridors import Corridor
from wallet.fx.quotes import Quote, QuoteDraft
from wallet.money import Money
from wallet.payments import recipients, service
from wallet.payments.recipients import Recipient, RecipientDraft

FLOW = "abroad"
RECIPIENT = "recipient"
KNOWN_SHOWN = 20

router = APIRouter(route_class=WebRoute, include_in_schema=False)
Member = Annotated[Visit, Depends(member)]


@router.get("/abroad")
async def choose_corridor(visit: Member) -> Response:
    """Where to."""
    return visit.page("abroad.html", corridors=corridors.corridors(visit.services.assets))


@router.get("/abroad/{corridor_id}")
async def choose_recipient(visit: Member, corridor_id: str) -> Response:
    """To whom: somebody known, or somebody new."""
    chosen = _corridor(visit, corridor_id)
    async with visit.services.db.snapshot() as session:
        known = await recipients.page(
            session,
            principal_id=visit.member.id,
            limit=KNOWN_SHOWN,
            cursor=None,
            type_=chosen.recipient_type,
        )
    properties = chosen.recipient_schema["properties"]
    return visit.page(
        "abroad_recipient.html",
        corridor=chosen,
        known=[one for one in known[:KNOWN_SHOWN] if one.country in chosen.countries],
        extra=[(n, properties[n]["title"]) for n in recipients.FIELDS[chosen.recipient_type]],
        values=drafts.recall(visit, RECIPIENT),
        errors=drafts.told(visit),
        key=new_key(),
    )


@router.post("/abroad/{corridor_id}")
async def add_recipient(visit: Member, corridor_id: str) -> Response:
    """Check and keep a new recipient."""
    values = {name: value.strip() for name, value in (await visit.form()).items()}
    chosen = _corridor(visit, corridor_id)

    async def work(session: Session) -> str:
        names = recipients.FIELDS[chosen.recipient_type]
        made = await recipients.create(
            session,
            principal_id=visit.member.id,
            draft=RecipientDraft(
                type=chosen.recipient_type,
                name=values.get("name", ""),
                country=values.get("country", ""),
                details={name: values[name] for name in names if values.get(name)},
            ),
        )
        return f"/abroad/{chosen.id}/{made.id}"

    try:
        _set_country(chosen, values)
        path = await once(visit, values, work)
    except WalletError as error:
        drafts.keep(visit, RECIPIENT, {n: v for n, v in values.items() if n != "key"})
        return drafts.tell(visit, f"/abroad/{chosen.id}", error)
    drafts.forget(visit, RECIPIENT)
    return visit.go(path)


@router.get("/abroad/{corridor_id}/{recipient_id}")
async def enter(visit: Member, corridor_id: str, recipient_id: str) -> Response:
    """How much, what for."""
    chosen = _corridor(visit, corridor_id)
    async with visit.services.db.snapshot() as session:
        recipient = await _recipient(session, visit, chosen, recipient_id)
        held = await spendable(session, visit.services, visit.member.id)
    nothing = Money(0, visit.services.assets.get(chosen.source_asset))
    have = next((h.available for h in held if h.asset.code == chosen.source_asset), nothing)
    return visit.page(
        "abroad_amount.html",
        corridor=chosen,
        recipient=recipient,
        available=have,
        purposes=[(name, visit.t(PURPOSES.get(name, name))) for name in chosen.purposes],
        values=drafts.recall(visit, FLOW),
        errors=drafts.told(visit),
        key=new_key(),
    )


@router.post("/abroad/{corridor_id}/{recipient_id}")
async def ask(visit: Member, corridor_id: str, recipient_id: str) -> Response:
    """Lock a price for half an hour."""
    values = {name: value.strip() for name, value in (await visit.form()).items()}
    chosen = _corridor(visit, corridor_id)
    kept = {name: values.get(name, "") for name in ("amount", "side", "purpose", "reference")}
    drafts.keep(visit, FLOW, {**kept, "recipient": recipient_id})

    async def work(session: Session) -> str:
        await recipients.get(session, principal_id=visit.member.id, recipient_id=recipient_id)
        made = await _quote(session, visit, chosen, values)
        return f"/abroad/{chosen.id}/{recipient_id}/{made.id}"

    try:
        if values.get("purpose") not in chosen.purposes:
            raise InvalidField("Choose a purpose.", field="/purpose")
        if len(values.get("reference", "")) > chosen.reference_limit:
            raise InvalidField("This reference is too long.", field="/reference")
        return visit.go(await once(visit, values, work))
    except WalletError as error:
        return drafts.tell(visit, f"/abroad/{chosen.id}/{recipient_id}", error, at=_at(error))


@router.get("/abroad/{corridor_id}/{recipient_id}/{quote_id}")
async def review(visit: Member, corridor_id: str, recipient_id: str, quote_id: str) -> Response:
    """A sentence that says exactly what will happen, and what if it comes back."""
    chosen = _corridor(visit, corridor_id)
    values = drafts.recall(visit, FLOW)
    if not values.get("purpose"):
        return visit.go(f"/abroad/{chosen.id}/{recipient_id}")
    async with visit.services.db.snapshot() as session:
        recipient = await _recipient(session, visit, chosen, recipient_id)
        quote = await quotes.get(
            session,
            assets=visit.services.assets,
            principal_id=visit.member.id,
            quote_id=quote_id,
        )
        now = await clock.now(session)
    if quote.corridor != chosen.id:
        raise NotFound("There is no such quote.")
    return visit.page(
        "abroad_review.html",
        corridor=chosen,
        recipient=recipient,
        quote=quote,
        now=now,
        over=quote.expires_at <= now or quote.used_at is not None,
        purpose=visit.t(PURPOSES.get(values["purpose"], values["purpose"])),
        values=values,
        errors=drafts.told(visit),
        key=new_key(),
        fresh_key=new_key(),
    )


@router.post("/abroad/{corridor_id}/{recipient_id}/{quote_id}/confirm")
async def confirm(visit: Member, corridor_id: str, recipient_id: str, quote_id: str) -> Response:
    """Send it, once."""
    values = await visit.form()
    chosen = _corridor(visit, corridor_id)

    async def work(session: Session) -> str:
        made = await service.create(
            session,
            assets=visit.services.assets,
            principal_id=visit.member.id,
            draft=service.PaymentDraft(
                quote_id=quote_id,
                recipient_id=recipient_id,
                purpose=values.get("purpose", ""),
                reference=values.get("reference") or None,
            ),
        )
        return f"/activity/{made.id}?done=1"

    try:
        path = await once(visit, values, work)
    except WalletError as error:
        if error.code == "not_found":
            raise
        return drafts.tell(visit, f"/abroad/{chosen.id}/{recipient_id}/{quote_id}", error, at="")
    drafts.forget(visit, FLOW)
    return visit.go(path)


@router.post("/payments/{payment_id}/cancel")
async def cancel(visit: Member, payment_id: str) -> Response:
    """Take it back while the bank has not been told."""
    values = await visit.form()

    async def work(session: Session) -> str:
        made = await service.cancel(
            session,
            assets=visit.services.assets,
            principal_id=visit.member.id,
            payment_id=payment_id,
        )
        return f"/activity/{made.id}"

    return visit.go(await once(visit, values, work))


def _corridor(visit: Visit, corridor_id: str) -> Corridor:
    try:
        return corridors.corridor(visit.services.assets, corridor_id)
    except InvalidField:
        raise NotFound("There is no such corridor.") from None


async def _quote(session: Session, visit: Visit, chosen: Corridor, values: dict[str, str]) -> Quote:
    """A price for the amount typed, on the side it was typed for."""
    typed = amount_text(values.get("amount", ""))
    backwards = values.get("side") == "target"
    draft = QuoteDraft.parse(
        visit.services.assets,
        source_asset=chosen.source_asset,
        target_asset=chosen.target_asset,
        kind="payment",
        source_amount=None if backwards else typed,
        target_amount=typed if backwards else None,
        corridor=chosen.id,
    )
    made = await quotes.create(
        session, assets=visit.services.assets, principal_id=visit.member.id, draft=draft
    )
    covered(await spendable(session, visit.services, visit.member.id), made.source)
    return made


def _set_country(chosen: Corridor, values: dict[str, str]) -> None:
    """The country of the account: an IBAN says it itself, else the corridor has one."""
    if chosen.recipient_type != "iban":
        values["country"] = chosen.target_country
        return
    values["country"] = values.get("iban", "").replace(" ", "")[:2].upper()
    if values["country"] not in chosen.countries:
        raise InvalidField("This corridor does not reach that country.", field="/iban")


def _at(error: WalletError) -> str:
    if error.field in ("/source_amount", "/target_amount", "/money/amount"):
        return "/amount"
    return error.field or ""


async def _recipient(
    session: Session, visit: Visit, chosen: Corridor, recipient_id: str
) -> Recipient:
    found = await recipients.get(session, principal_id=visit.member.id, recipient_id=recipient_id)
    if found.type != chosen.recipient_type or found.country not in chosen.countries:
        raise NotFound("This recipient is not in this corridor.")
    return found

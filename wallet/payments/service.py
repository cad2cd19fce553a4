"""Making and cancelling payments. What happens in between is `tasks.py`."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from wallet import clock, jobs, outbox, pauses
from wallet.crashpoints import hit
from wallet.errors import InvalidField, InvalidState, NotFound
from wallet.fx import quotes
from wallet.fx.corridors import Corridor, corridor
from wallet.fx.errors import LiquidityUnavailable
from wallet.ids import new_id
from wallet.money import AssetBook
from wallet.payments import reading, recipients, repository
from wallet.payments.books import PaymentBooks, notice
from wallet.payments.states import check_move
from wallet.payments.views import Payment
from wallet.payouts import repository as payouts
from wallet.risk import limits

ADVANCE = "payments.advance"
LEGS = ("funding", "conversion", "settlement", "payout")


@dataclass(frozen=True, slots=True)
class PaymentDraft:
    """What is asked for."""

    quote_id: str
    recipient_id: str
    purpose: str
    reference: str | None = None
    travel_rule: Mapping[str, Any] | None = None


async def create(
    session: AsyncSession, *, assets: AssetBook, principal_id: str, draft: PaymentDraft
) -> Payment:
    """Spend a payment quote: take the money now, promise the rest to the job.

    From a fiat account it comes back `funded`, from crypto `converted`. Raises NotFound, QuoteUsed,
    QuoteExpired, InvalidField, LimitExceeded, InsufficientFunds, AccountFrozen, and
    LiquidityUnavailable while the auditor holds an asset back: a payment that waits for as long as
    that lasts, at a rate of before, may be taken back for nothing.
    """
    payment_id = new_id("pay")
    recipient = await _recipient(session, principal_id, draft.recipient_id)
    quote = await quotes.take(
        session,
        assets=assets,
        principal_id=principal_id,
        quote_id=draft.quote_id,
        kind="payment",
        used_by=payment_id,
    )
    if await pauses.any_paused(session, {quote.source.asset.code, quote.target.asset.code}):
        raise LiquidityUnavailable("Such payments wait for a look right now; try again later.")
    assert quote.corridor is not None
    route = corridor(assets, quote.corridor)
    _check_recipient(route, recipient)
    reference = _check_words(route, draft)
    await limits.reserve_outgoing(
        session,
        principal_id=principal_id,
        eur_minor=quote.eur_minor,
        kind="payment",
        ref=payment_id,
    )
    books = books_of(payment_id, quote, route)
    from_crypto = quote.source.asset.kind != "fiat"
    if from_crypto:
        await books.funded_and_converted(session)
    else:
        await books.funded(session)
    hit("payment.posted")
    now = await clock.now(session)
    status = "converted" if from_crypto else "funded"
    await repository.insert(
        session,
        {
            "id": payment_id,
            "uetr": uuid4(),
            "principal_id": principal_id,
            "quote_id": quote.id,
            "recipient_id": recipient.id,
            "corridor": route.id,
            "rail": route.rail,
            "purpose": draft.purpose,
            "reference": reference,
            "travel_rule": dict(draft.travel_rule) if draft.travel_rule is not None else None,
            "status": status,
            "created_at": now,
        },
    )
    await _tell_beginning(session, payment_id, quote, recipient, from_crypto)
    await jobs.enqueue(session, ADVANCE, once=f"{ADVANCE}:{payment_id}", payment_id=payment_id)
    hit("payment.stored")
    return await reading.get(
        session, assets=assets, principal_id=principal_id, payment_id=payment_id
    )


def books_of(payment_id: str, quote: quotes.Quote, route: Corridor) -> PaymentBooks:
    """The entries of this payment."""
    return PaymentBooks(payment_id=payment_id, quote=quote, rail=route.rail, bank_name=route.bank)


async def _tell_beginning(
    session: AsyncSession,
    payment_id: str,
    quote: quotes.Quote,
    recipient: recipients.Recipient,
    from_crypto: bool,
) -> None:
    """Legs, first events and notices."""
    done = {"funding", "conversion"} if from_crypto else {"funding"}
    for position, kind in enumerate(LEGS):
        money = quote.source if kind == "funding" else quote.target
        leg_id = new_id("leg")
        await repository.add_leg(
            session,
            {
                "id": leg_id,
                "payment_id": payment_id,
                "position": position,
                "kind": kind,
                "status": "done" if kind in done else "pending",
                "asset": money.asset.code,
                "amount_minor": money.minor,
                "reference": leg_id if kind == "payout" else None,
            },
        )
    story = [("created", f"To {recipient.label}."), ("funded", f"{quote.source} taken.")]
    if from_crypto:
        story.append(("converted", f"{quote.target} at {quote.rate}."))
    for status, detail in story:
        await repository.add_event(
            session, payment_id=payment_id, type_=f"payment.{status}", detail=detail
        )
        await outbox.put(session, notice(payment_id=payment_id, quote=quote, status=status))


async def cancel(
    session: AsyncSession, *, assets: AssetBook, principal_id: str, payment_id: str
) -> Payment:
    """Take it back before the bank has heard of it; everything returns, fees too.

    Raises NotFound, InvalidState (with `state`).
    """
    row = await repository.lock(session, payment_id)
    if row is None or row["principal_id"] != principal_id:
        raise NotFound("There is no such payment.")
    check_move(row["status"], "cancelled")
    payment = await reading.get(
        session, assets=assets, principal_id=principal_id, payment_id=payment_id
    )
    route = corridor(assets, payment.corridor)
    order = next(leg.reference for leg in payment.legs if leg.kind == "payout")
    if await payouts.is_listed(session, bank=route.bank, reference=order or ""):
        # These books were restored, and do not know yet that it was told.
        raise InvalidState("Its bank has paid it already.", extra={"state": row["status"]})
    await call_off(session, payment, books_of(payment_id, payment.quote, route))
    hit("payment.cancelled")
    return await reading.get(
        session, assets=assets, principal_id=principal_id, payment_id=payment_id
    )


async def call_off(
    session: AsyncSession, payment: Payment, books: PaymentBooks, *, reason: str | None = None
) -> None:
    """End it before it was handed over, as the caller has checked; everything returns, fees too."""
    refund = await books.cancelled(session, converted=payment.status != "funded")
    await end(session, payment, "cancelled", refund_minor=refund.minor, reason=reason)
    for kind in LEGS[1:]:
        await repository.set_leg(session, payment_id=payment.id, kind=kind, status="skipped")


async def end(
    session: AsyncSession,
    payment: Payment,
    status: str,
    *,
    refund_minor: int | None = None,
    reason: str | None = None,
) -> None:
    """Write a terminal status with its event, notice, refund leg and freed limit."""
    await repository.set_status(
        session, payment_id=payment.id, status=status, ended=True, reason=reason
    )
    detail = reason or ""
    if refund_minor is not None:
        code = payment.source.asset.code
        await repository.set_refund(session, payment_id=payment.id, minor=refund_minor)
        await repository.add_leg(
            session,
            {
                "id": new_id("leg"),
                "payment_id": payment.id,
                "position": len(LEGS),
                "kind": "refund",
                "status": "done",
                "asset": code,
                "amount_minor": refund_minor,
                "reference": None,
            },
        )
        await limits.release_outgoing(session, payment.id)
    await repository.add_event(
        session, payment_id=payment.id, type_=f"payment.{status}", detail=detail
    )
    await outbox.put(
        session, notice(payment_id=payment.id, quote=payment.quote, status=status, reason=reason)
    )


async def _recipient(
    session: AsyncSession, principal_id: str, recipient_id: str
) -> recipients.Recipient:
    try:
        return await recipients.get(session, principal_id=principal_id, recipient_id=recipient_id)
    except NotFound as error:
        error.field = "/recipient_id"
        raise


def _check_recipient(route: Corridor, recipient: recipients.Recipient) -> None:
    """The recipient's account must be one that this corridor reaches."""
    if recipient.type != route.recipient_type:
        raise InvalidField(
            f"This corridor pays to a {route.recipient_type} account.", field="/recipient_id"
        )
    country = recipient.details["iban"][:2] if recipient.type == "iban" else recipient.country
    if country not in route.countries:
        raise InvalidField("This corridor does not reach that country.", field="/recipient_id")


def _check_words(route: Corridor, draft: PaymentDraft) -> str | None:
    """The purpose is the corridor's; the reference is one line that the rail can carry."""
    if draft.purpose not in route.purposes:
        raise InvalidField(f"One of {', '.join(route.purposes)}.", field="/purpose")
    if draft.reference is None:
        return None
    cleaned = " ".join(unicodedata.normalize("NFC", draft.reference).split())
    if len(cleaned) > route.reference_limit or any(
        unicodedata.category(letter) in {"Cc", "Cf", "Cs", "Co"} for letter in cleaned
    ):
        raise InvalidField(
            f"At most {route.reference_limit} visible characters.", field="/reference"
        )
    return cleaned or None

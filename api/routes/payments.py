"""Money to a bank account abroad."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field, StringConstraints
from starlette.responses import Response

from api import idempotency
from api.authentication import CallerDep
from api.cursors import DEFAULT_LIMIT, CursorText, Limit, decode, next_cursor
from api.errors import documented
from api.idempotency import OnceDep, answer
from api.route import StrictRoute
from api.routes.exchange import QUOTE_ID, QuoteView
from api.routes.recipients import RecipientView
from api.schemas import MOMENT_EXAMPLE, Moment, MoneyOut, Page, Schema, View
from api.state import ReadSession, ServicesDep
from wallet import payments
from wallet.db import Session
from wallet.errors import NotFound
from wallet.idempotency import Answer
from wallet.ids import is_id
from wallet.payments import Event, Leg, Payment, PaymentDraft

router = APIRouter(prefix="/v1", tags=["payments"], route_class=StrictRoute)

Purpose = Literal["family_support", "goods", "services", "salary", "savings", "other"]
Detail = Annotated[str, StringConstraints(max_length=200)]


class PaymentCreate(Schema):
    """By which quote, to whom, and why."""

    quote_id: Annotated[str, StringConstraints(max_length=64)] = Field(
        description="A live quote of kind `payment`.", examples=[QUOTE_ID]
    )
    recipient_id: Annotated[str, StringConstraints(max_length=64)] = Field(
        description="A recipient of the quote's corridor.",
        examples=["rcp_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"],
    )
    purpose: Purpose = Field(description="Why money moves.", examples=["family_support"])
    reference: Annotated[str, StringConstraints(max_length=280)] | None = Field(
        default=None, description="The recipient reads it; the rail limits it.", examples=["Rent"]
    )
    travel_rule: Annotated[dict[Detail, Detail], Field(max_length=30)] | None = Field(
        default=None,
        description="What the receiving side must know of the payer, as text by name.",
        examples=[{"originator_name": "Ada Lovelace"}],
    )


class LegView(View):
    """One stretch of the way."""

    kind: str = Field(
        description="`funding`, `conversion`, `settlement`, `payout` or `refund`.",
        examples=["payout"],
    )
    status: str = Field(
        description="`pending`, `submitted`, `done`, `skipped`, `failed` or `returned`.",
        examples=["done"],
    )
    money: MoneyOut = Field(description="What moves on it.")
    reference: str | None = Field(
        description="What the other side knows it by.", examples=["leg_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"]
    )
    at: Moment | None = Field(description="When it last moved.", examples=[MOMENT_EXAMPLE])

    @classmethod
    def of(cls, leg: Leg) -> LegView:
        """From the domain."""
        return cls(
            kind=leg.kind,
            status=leg.status,
            money=MoneyOut.of(leg.money),
            reference=leg.reference,
            at=leg.at,
        )


class PaymentEventView(View):
    """Something that happened."""

    type: str = Field(description="What.", examples=["payment.funded"])
    at: Moment = Field(description="When.", examples=[MOMENT_EXAMPLE])
    detail: str = Field(description="In words.", examples=["40.00 EUR taken."])

    @classmethod
    def of(cls, event: Event) -> PaymentEventView:
        """From the domain."""
        return cls(type=event.type, at=event.at, detail=event.detail)


class PaymentView(View):
    """A payment with its whole story."""

    id: str = Field(description="Payment id.", examples=["pay_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"])
    uetr: str = Field(
        description="Unique end-to-end transaction reference, a UUID.",
        examples=["97ed4827-7b6f-4491-a06f-b548d5a7512d"],
    )
    status: str = Field(
        description="`created`, `funded`, `converted`, `settling`, `paying_out`, `completed`; or"
        " `in_review`, `returned`, `failed`, `cancelled`.",
        examples=["paying_out"],
    )
    reason: str | None = Field(
        description="Why it came back or failed; `money_owed`: its owner owes the house;"
        " `quote_expired`: it could not be sent while its rate held.",
        examples=["AC04 The account abroad is closed."],
    )
    waiting_for: str | None = Field(
        description="Why it waits: `bank_answer`, `bank_settlement`; `review` before it is sent.",
        examples=["bank_answer"],
    )
    waiting_until: Moment | None = Field(
        description="When the rail promises to have spoken.", examples=[MOMENT_EXAMPLE]
    )
    source: MoneyOut = Field(description="The whole debit.")
    target: MoneyOut = Field(description="What the recipient gets.")
    quote: QuoteView = Field(description="The price it was made at.")
    recipient: RecipientView = Field(description="Who receives.")
    corridor: str = Field(description="Which way.", examples=["EUR-MX"])
    rail: str = Field(description="By which rail.", examples=["spei"])
    purpose: str = Field(description="Why money moves.", examples=["family_support"])
    reference: str | None = Field(description="The recipient reads it.", examples=["Rent"])
    refund: MoneyOut | None = Field(
        description="What came back to the payer.", examples=[{"amount": "40.00", "asset": "EUR"}]
    )
    legs: list[LegView] = Field(description="The stretches of the way, in order.")
    events: list[PaymentEventView] = Field(description="Its history, oldest first.")
    simulated: bool = Field(description="Whether rail or rate is a simulator's.", examples=[True])
    created_at: Moment = Field(description="When it was made.", examples=[MOMENT_EXAMPLE])
    updated_at: Moment = Field(description="When it last moved.", examples=[MOMENT_EXAMPLE])
    ended_at: Moment | None = Field(description="When it ended.", examples=[MOMENT_EXAMPLE])

    @classmethod
    def of(cls, made: Payment) -> PaymentView:
        """From the domain."""
        return cls(
            id=made.id,
            uetr=made.uetr,
            status=made.status,
            reason=made.reason,
            waiting_for=made.waiting_for,
            waiting_until=made.waiting_until,
            source=MoneyOut.of(made.source),
            target=MoneyOut.of(made.target),
            quote=QuoteView.of(made.quote),
            recipient=RecipientView.of(made.recipient),
            corridor=made.corridor,
            rail=made.rail,
            purpose=made.purpose,
            reference=made.reference,
            refund=MoneyOut.of(made.refund) if made.refund else None,
            legs=[LegView.of(leg) for leg in made.legs],
            events=[PaymentEventView.of(event) for event in made.events],
            simulated=made.simulated,
            created_at=made.created_at,
            updated_at=made.updated_at,
            ended_at=made.ended_at,
        )


@router.post(
    "/payments",
    status_code=202,
    response_model=PaymentView,
    summary="Pay abroad by a quote",
    responses=documented(
        (*idempotency.CODES, "unauthenticated", "not_found", "quote_expired", "quote_used",
         "insufficient_funds", "limit_exceeded", "account_frozen", "account_closed",
         "liquidity_unavailable")
    ),
)  # fmt: skip
async def create(
    body: PaymentCreate, caller: CallerDep, services: ServicesDep, once: OnceDep
) -> Response:
    """Takes the money now; the rest is the worker's, and shows in `legs` and `events`."""
    if not is_id(body.quote_id, "quo"):
        raise NotFound("There is no such quote.", field="/quote_id")
    if not is_id(body.recipient_id, "rcp"):
        raise NotFound("There is no such recipient.", field="/recipient_id")
    draft = PaymentDraft(
        quote_id=body.quote_id,
        recipient_id=body.recipient_id,
        purpose=body.purpose,
        reference=body.reference,
        travel_rule=body.travel_rule,
    )

    async def work(session: Session) -> Answer:
        made = await payments.create(
            session, assets=services.assets, principal_id=caller.principal_id, draft=draft
        )
        return answer(202, PaymentView.of(made), location=f"/v1/payments/{made.id}")

    return await once(work)


@router.get(
    "/payments",
    response_model=Page[PaymentView],
    summary="The caller's payments",
    responses=documented(("unauthenticated", "invalid_cursor")),
)
async def page(
    caller: CallerDep,
    services: ServicesDep,
    session: ReadSession,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> Page[PaymentView]:
    """Newest first."""
    rows = await payments.page(
        session,
        assets=services.assets,
        principal_id=caller.principal_id,
        limit=limit,
        cursor=decode(cursor),
    )
    shown, after = next_cursor(rows, limit, lambda row: (row.created_at, row.id))
    return Page(data=[PaymentView.of(row) for row in shown], next_cursor=after)


@router.get(
    "/payments/{payment_id}",
    response_model=PaymentView,
    summary="One payment",
    responses=documented(("unauthenticated", "not_found")),
)
async def get(
    payment_id: str, caller: CallerDep, services: ServicesDep, session: ReadSession
) -> PaymentView:
    """With quote, recipient, legs and events."""
    return PaymentView.of(
        await payments.get(
            session,
            assets=services.assets,
            principal_id=caller.principal_id,
            payment_id=_known(payment_id),
        )
    )


@router.post(
    "/payments/{payment_id}/cancel",
    response_model=PaymentView,
    summary="Take a payment back",
    responses=documented((*idempotency.CODES, "unauthenticated", "not_found", "invalid_state")),
)
async def cancel(
    payment_id: str, caller: CallerDep, services: ServicesDep, once: OnceDep
) -> Response:
    """Before the bank has heard of it; later 409 `invalid_state`, with the `state` it is in."""
    known = _known(payment_id)

    async def work(session: Session) -> Answer:
        made = await payments.cancel(
            session,
            assets=services.assets,
            principal_id=caller.principal_id,
            payment_id=known,
        )
        return answer(200, PaymentView.of(made))

    return await once(work)


def _known(payment_id: str) -> str:
    if not is_id(payment_id, "pay"):
        raise NotFound("There is no such payment.")
    return payment_id

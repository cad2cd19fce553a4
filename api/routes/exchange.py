"""Quotes, conversions and corridors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field, StringConstraints
from starlette.responses import Response

from api import idempotency
from api.authentication import CallerDep
from api.cursors import DEFAULT_LIMIT, CursorText, Limit, decode, next_cursor
from api.errors import documented
from api.idempotency import OnceDep, answer
from api.route import StrictRoute
from api.schemas import (
    AMOUNT_TEXT,
    MOMENT_EXAMPLE,
    AmountText,
    AssetCode,
    Moment,
    MoneyOut,
    Page,
    Schema,
    View,
)
from api.state import ReadSession, ServicesDep
from wallet import conversions
from wallet.conversions import Conversion
from wallet.db import Session
from wallet.errors import NotFound
from wallet.fx import quotes
from wallet.fx.corridors import Corridor
from wallet.fx.corridors import corridors as known_corridors
from wallet.fx.quotes import Quote, QuoteDraft
from wallet.idempotency import Answer
from wallet.ids import is_id

router = APIRouter(prefix="/v1", tags=["exchange"], route_class=StrictRoute)
public = APIRouter(prefix="/v1", tags=["exchange"], route_class=StrictRoute)

QUOTE_ID = "quo_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"
AMOUNT_CODES = (
    "amount_must_be_string", "amount_malformed", "amount_precision", "amount_not_positive",
    "amount_too_large", "unknown_asset",
)  # fmt: skip


class QuoteCreate(Schema):
    """What to price. Exactly one of the two amounts."""

    source_asset: AssetCode = Field(description="What is given.", examples=["EUR"])
    target_asset: AssetCode = Field(description="What is received.", examples=["MXN"])
    source_amount: AmountText | None = Field(
        default=None, description=f"The whole debit, fees inside. {AMOUNT_TEXT}", examples=["40.00"]
    )
    target_amount: AmountText | None = Field(
        default=None, description=f"What must arrive. {AMOUNT_TEXT}", examples=["750.00"]
    )
    kind: Literal["conversion", "payment"] = Field(
        description="A `conversion` stays in the wallet; a `payment` leaves by a corridor.",
        examples=["payment"],
    )
    corridor: Annotated[str, StringConstraints(max_length=32)] | None = Field(
        default=None,
        description="Payments only; found by the two assets when absent.",
        examples=["EUR-MX"],
    )


class FeeView(View):
    """One fee inside the source amount."""

    kind: str = Field(description="What for.", examples=["payment"])
    money: MoneyOut = Field(description="How much.")


class QuoteView(View):
    """A locked price."""

    id: str = Field(description="Quote id.", examples=[QUOTE_ID])
    kind: str = Field(description="`conversion` or `payment`.", examples=["payment"])
    source: MoneyOut = Field(description="The whole debit, fees inside.")
    target: MoneyOut = Field(description="What is received.")
    rate: str = Field(
        description="Target units for one source unit: `mid_rate × (1 − spread)`.",
        examples=["19.701"],
    )
    mid_rate: str = Field(description="The market's middle.", examples=["19.8"])
    spread: str = Field(description="Our margin, as a fraction.", examples=["0.005"])
    fees: list[FeeView] = Field(description="Every fee, in the source asset.")
    total_cost: MoneyOut = Field(description="Spread and fees together, in the source asset.")
    rounding: str = Field(description="How the last unit was rounded.", examples=["target floored"])
    corridor: str | None = Field(description="Payments only.", examples=["EUR-MX"])
    eta_seconds: int = Field(description="From payment to arrival, as expected.", examples=[60])
    refund_rule: str | None = Field(
        description="What comes back when a payout is returned.", examples=["original_rate"]
    )
    rate_as_of: Moment = Field(description="When the mid rate was made.", examples=[MOMENT_EXAMPLE])
    created_at: Moment = Field(description="When it was locked.", examples=[MOMENT_EXAMPLE])
    expires_at: Moment = Field(description="Until when it is good.", examples=[MOMENT_EXAMPLE])
    used: bool = Field(description="Whether it has been used.", examples=[False])
    simulated: bool = Field(description="Whether rate or rail is a simulator's.", examples=[True])

    @classmethod
    def of(cls, quote: Quote) -> QuoteView:
        """From the domain."""
        return cls(
            id=quote.id,
            kind=quote.kind,
            source=MoneyOut.of(quote.source),
            target=MoneyOut.of(quote.target),
            rate=quote.rate,
            mid_rate=quote.mid_rate,
            spread=quote.spread,
            fees=[FeeView(kind=fee.kind, money=MoneyOut.of(fee.money)) for fee in quote.fees],
            total_cost=MoneyOut.of(quote.total_cost),
            rounding=quote.rounding,
            corridor=quote.corridor,
            eta_seconds=quote.eta_seconds,
            refund_rule=quote.refund_rule,
            rate_as_of=quote.rate_as_of,
            created_at=quote.created_at,
            expires_at=quote.expires_at,
            used=quote.used_at is not None,
            simulated=quote.simulated,
        )


class ConversionCreate(Schema):
    """By which quote."""

    quote_id: Annotated[str, StringConstraints(max_length=64)] = Field(
        description="A live quote of kind `conversion`.", examples=[QUOTE_ID]
    )


class ConversionView(View):
    """A completed conversion."""

    id: str = Field(description="Conversion id.", examples=["cnv_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"])
    status: str = Field(description="Always `completed`.", examples=["completed"])
    quote_id: str = Field(description="The quote it used.", examples=[QUOTE_ID])
    source: MoneyOut = Field(description="What was given.")
    target: MoneyOut = Field(description="What was received.")
    rate: str = Field(description="Target units for one source unit.", examples=["0.9154"])
    total_cost: MoneyOut = Field(description="Spread and fees, in the source asset.")
    created_at: Moment = Field(description="When it happened.", examples=[MOMENT_EXAMPLE])

    @classmethod
    def of(cls, made: Conversion) -> ConversionView:
        """From the domain."""
        return cls(
            id=made.id,
            status=made.status,
            quote_id=made.quote_id,
            source=MoneyOut.of(made.source),
            target=MoneyOut.of(made.target),
            rate=made.rate,
            total_cost=MoneyOut.of(made.total_cost),
            created_at=made.created_at,
        )


class CorridorView(View):
    """A way for money to leave."""

    id: str = Field(description="Corridor id.", examples=["EUR-MX"])
    source_asset: str = Field(description="What is given.", examples=["EUR"])
    target_asset: str = Field(description="What arrives.", examples=["MXN"])
    target_country: str = Field(description="Where.", examples=["MX"])
    rail: str = Field(description="By which rail.", examples=["spei"])
    recipient_type: str = Field(description="Type of recipient it pays to.", examples=["clabe"])
    min: MoneyOut = Field(description="Least source amount.")
    max: MoneyOut = Field(description="Most source amount.")
    fee: MoneyOut = Field(description="Fixed fee, inside the source amount.")
    cut_off: str | None = Field(
        description="Local time of the last payout of a day; null round the clock.",
        examples=["17:00"],
    )
    purposes: list[str] = Field(
        description="Purposes a payment may name.", examples=[["family_support", "goods"]]
    )
    recipient_schema: dict[str, Any] = Field(
        description="JSON Schema of the recipient.", examples=[{"type": "object"}]
    )
    eta_seconds: int = Field(description="Expected time to arrival.", examples=[60])
    simulated: bool = Field(description="Whether the rail is a simulator.", examples=[True])

    @classmethod
    def of(cls, corridor: Corridor) -> CorridorView:
        """From the domain."""
        return cls(
            id=corridor.id,
            source_asset=corridor.source_asset,
            target_asset=corridor.target_asset,
            target_country=corridor.target_country,
            rail=corridor.rail,
            recipient_type=corridor.recipient_type,
            min=MoneyOut.of(corridor.min),
            max=MoneyOut.of(corridor.max),
            fee=MoneyOut.of(corridor.fee),
            cut_off=corridor.cut_off,
            purposes=list(corridor.purposes),
            recipient_schema=dict(corridor.recipient_schema),
            eta_seconds=corridor.eta_seconds,
            simulated=corridor.simulated,
        )


class CorridorList(View):
    """Every corridor."""

    data: list[CorridorView] = Field(description="One row a corridor.")


@router.post(
    "/quotes",
    status_code=201,
    response_model=QuoteView,
    summary="Lock a price",
    responses=documented(
        (*idempotency.CODES, *AMOUNT_CODES, "unauthenticated", "amount_outside_limit",
         "rate_stale", "liquidity_unavailable", "rate_limited", "limit_exceeded")
    ),
)  # fmt: skip
async def create_quote(
    body: QuoteCreate, caller: CallerDep, services: ServicesDep, once: OnceDep
) -> Response:
    """A conversion quote lives 60 s, a payment quote 30 min; at most five at once."""
    draft = QuoteDraft.parse(services.assets, **body.model_dump())

    async def work(session: Session) -> Answer:
        made = await quotes.create(
            session, assets=services.assets, principal_id=caller.principal_id, draft=draft
        )
        return answer(201, QuoteView.of(made), location=f"/v1/quotes/{made.id}")

    return await once(work)


@router.get(
    "/quotes/{quote_id}",
    response_model=QuoteView,
    summary="One quote",
    responses=documented(("unauthenticated", "not_found")),
)
async def get_quote(
    quote_id: str, caller: CallerDep, services: ServicesDep, session: ReadSession
) -> QuoteView:
    """Live, expired or used."""
    if not is_id(quote_id, "quo"):
        raise NotFound("There is no such quote.")
    return QuoteView.of(
        await quotes.get(
            session, assets=services.assets, principal_id=caller.principal_id, quote_id=quote_id
        )
    )


@router.post(
    "/conversions",
    status_code=201,
    response_model=ConversionView,
    summary="Convert by a quote",
    responses=documented(
        (*idempotency.CODES, "unauthenticated", "not_found", "quote_expired", "quote_used",
         "insufficient_funds", "account_frozen", "account_closed")
    ),
)  # fmt: skip
async def convert(
    body: ConversionCreate, caller: CallerDep, services: ServicesDep, once: OnceDep
) -> Response:
    """Instant and final, at the price the quote locked."""
    if not is_id(body.quote_id, "quo"):
        raise NotFound("There is no such quote.", field="/quote_id")

    async def work(session: Session) -> Answer:
        made = await conversions.create(
            session,
            assets=services.assets,
            principal_id=caller.principal_id,
            quote_id=body.quote_id,
        )
        return answer(201, ConversionView.of(made), location=f"/v1/conversions/{made.id}")

    return await once(work)


@router.get(
    "/conversions",
    response_model=Page[ConversionView],
    summary="The caller's conversions",
    responses=documented(("unauthenticated", "invalid_cursor")),
)
async def conversion_page(
    caller: CallerDep,
    services: ServicesDep,
    session: ReadSession,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> Page[ConversionView]:
    """Newest first."""
    rows = await conversions.page(
        session,
        assets=services.assets,
        principal_id=caller.principal_id,
        limit=limit,
        cursor=decode(cursor),
    )
    shown, after = next_cursor(rows, limit, lambda row: (row.created_at, row.id))
    return Page(data=[ConversionView.of(row) for row in shown], next_cursor=after)


@router.get(
    "/conversions/{conversion_id}",
    response_model=ConversionView,
    summary="One conversion",
    responses=documented(("unauthenticated", "not_found")),
)
async def get_conversion(
    conversion_id: str, caller: CallerDep, services: ServicesDep, session: ReadSession
) -> ConversionView:
    """What was given and received."""
    if not is_id(conversion_id, "cnv"):
        raise NotFound("There is no such conversion.")
    return ConversionView.of(
        await conversions.get(
            session,
            assets=services.assets,
            principal_id=caller.principal_id,
            conversion_id=conversion_id,
        )
    )


@public.get("/corridors", response_model=CorridorList, summary="Where money can go")
async def corridors(services: ServicesDep) -> CorridorList:
    """Public. `recipient_schema` says what a recipient there needs."""
    return CorridorList(data=[CorridorView.of(one) for one in known_corridors(services.assets)])

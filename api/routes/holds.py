"""Holds: money set aside by a payer, captured by a payee, given back by either."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field, StringConstraints
from starlette.responses import Response

from api import idempotency
from api.authentication import CallerDep
from api.cursors import DEFAULT_LIMIT, CursorText, Limit, decode, next_cursor
from api.errors import documented
from api.hot import HotRoute, TogetherDep
from api.idempotency import answer
from api.route import StrictRoute
from api.routes.transfers import PartyView, as_recipient
from api.schemas import MOMENT_EXAMPLE, Moment, MoneyIn, MoneyOut, Page, Schema, View
from api.state import ReadSession, ServicesDep
from wallet import holds
from wallet.errors import NotFound
from wallet.holds import Capture, Hold, HoldCapture, HoldWanted
from wallet.holds.models import LONGEST_SECONDS, SHORTEST_SECONDS
from wallet.idempotency import Answer
from wallet.ids import is_id

router = APIRouter(prefix="/v1", tags=["holds"], route_class=StrictRoute)
hot = APIRouter(prefix="/v1", tags=["holds"], route_class=HotRoute)


class HoldCreate(Schema):
    """An instruction to set money aside for somebody."""

    to: Annotated[str, StringConstraints(min_length=1, max_length=320)] = Field(
        description="Who may capture it: handle (`@name`), verified e-mail, or user id.",
        examples=["@grace_1906"],
    )
    money: MoneyIn = Field(description="What is set aside.")
    expires_in_seconds: int = Field(
        description=f"From {SHORTEST_SECONDS} to {LONGEST_SECONDS:,}; what is not captured by then"
        " goes back.",
        examples=[86_400],
    )
    note: Annotated[str, StringConstraints(max_length=400)] | None = Field(
        default=None, description="Both sides see it; one line.", examples=["deposit for the bike"]
    )


class HoldCaptureCreate(Schema):
    """How much of a hold to take."""

    money: MoneyIn | None = Field(
        default=None,
        description="In the asset of the hold; all that remains when left out.",
        examples=[{"amount": "12.34", "asset": "EUR"}],
    )


class CaptureView(View):
    """One capture."""

    entry_id: str = Field(
        description="The entry in the books.", examples=["ent_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"]
    )
    money: MoneyOut = Field(description="What the payee got.")
    at: Moment = Field(description="When.", examples=[MOMENT_EXAMPLE])

    @classmethod
    def of(cls, capture: HoldCapture) -> CaptureView:
        """From the domain."""
        return cls(entry_id=capture.entry_id, money=MoneyOut.of(capture.money), at=capture.at)


class HoldView(View):
    """A hold as both sides see it. `money = captured + released + remaining`."""

    id: str = Field(description="Hold id.", examples=["hld_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"])
    status: str = Field(
        description="`open`; `captured` when all of it was; `voided` or `expired` when the rest"
        " went back.",
        examples=["open"],
    )
    from_: PartyView = Field(alias="from", description="The payer.")
    to: PartyView = Field(description="The payee.")
    money: MoneyOut = Field(description="What was set aside.")
    captured: MoneyOut = Field(description="What the payee took.")
    released: MoneyOut = Field(description="What went back.")
    remaining: MoneyOut = Field(description="What may still be captured.")
    note: str | None = Field(description="One line.", examples=["deposit for the bike"])
    expires_at: Moment = Field(description="When the rest goes back.", examples=[MOMENT_EXAMPLE])
    created_at: Moment = Field(description="When it was made.", examples=[MOMENT_EXAMPLE])

    @classmethod
    def of(cls, hold: Hold) -> HoldView:
        """From the domain."""
        return cls.model_validate(
            {
                "id": hold.id,
                "status": hold.status,
                "from": PartyView.of(hold.payer),
                "to": PartyView.of(hold.payee),
                "money": MoneyOut.of(hold.money),
                "captured": MoneyOut.of(hold.captured),
                "released": MoneyOut.of(hold.released),
                "remaining": MoneyOut.of(hold.remaining),
                "note": hold.note,
                "expires_at": hold.expires_at,
                "created_at": hold.created_at,
            }
        )


class HoldDetailView(HoldView):
    """A hold with its captures."""

    captures: list[CaptureView] = Field(description="Oldest first.")


ALL = HoldCaptureCreate()
"""What a capture without a body means: all that remains."""
MONEY_CODES = (
    "amount_must_be_string", "amount_malformed", "amount_precision", "amount_not_positive",
    "amount_too_large", "unknown_asset",
)  # fmt: skip


@hot.post(
    "/holds",
    status_code=201,
    response_model=HoldView,
    summary="Set money aside for somebody",
    responses=documented(
        (*idempotency.CODES, *MONEY_CODES, "unauthenticated", "recipient_not_found",
         "self_transfer", "insufficient_funds", "account_frozen", "account_closed",
         "invalid_field", "rate_limited")
    ),
)  # fmt: skip
async def create(
    body: HoldCreate, caller: CallerDep, services: ServicesDep, together: TogetherDep
) -> Response:
    """It stays the payer's, and cannot be spent otherwise, until it ends."""
    asked = HoldWanted(
        caller.principal_id,
        as_recipient(body.to),
        body.money.money(services.assets),
        body.expires_in_seconds,
        body.note,
    )
    return await together(holds.OpenFlow(services.settings.holds_per_payer), asked, _created)


@hot.post(
    "/holds/{hold_id}/capture",
    response_model=HoldView,
    summary="Take what is held for the caller",
    responses=documented(
        (*idempotency.CODES, *MONEY_CODES, "unauthenticated", "forbidden", "not_found",
         "hold_exceeded", "hold_expired", "invalid_state", "account_closed")
    ),
)  # fmt: skip
async def capture(
    hold_id: str,
    caller: CallerDep,
    services: ServicesDep,
    together: TogetherDep,
    body: HoldCaptureCreate = ALL,
) -> Response:
    """Partly or whole, as often as something remains; the payee alone may."""
    money = None if body.money is None else body.money.money(services.assets)
    flow = holds.CaptureFlow(services.assets)
    return await together(flow, Capture(caller.principal_id, _id(hold_id), money), _shown)


@hot.post(
    "/holds/{hold_id}/void",
    response_model=HoldView,
    summary="Give back what remains",
    responses=documented((*idempotency.CODES, "unauthenticated", "not_found", "invalid_state")),
)
async def void(
    hold_id: str, caller: CallerDep, services: ServicesDep, together: TogetherDep
) -> Response:
    """Either side may; what was captured stays captured."""
    flow = holds.VoidFlow(services.assets)
    return await together(flow, Capture(caller.principal_id, _id(hold_id), None), _shown)


@router.get(
    "/holds",
    response_model=Page[HoldView],
    summary="Holds made by the caller or for them",
    responses=documented(("unauthenticated", "invalid_cursor")),
)
async def page(
    caller: CallerDep,
    services: ServicesDep,
    session: ReadSession,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> Page[HoldView]:
    """Newest first."""
    rows = await holds.page(
        session,
        principal_id=caller.principal_id,
        limit=limit,
        cursor=decode(cursor),
        assets=services.assets,
    )
    shown, after = next_cursor(rows, limit, lambda row: (row.created_at, row.id))
    return Page(data=[HoldView.of(row) for row in shown], next_cursor=after)


@router.get(
    "/holds/{hold_id}",
    response_model=HoldDetailView,
    summary="One hold, with its captures",
    responses=documented(("unauthenticated", "not_found")),
)
async def get(
    hold_id: str, caller: CallerDep, services: ServicesDep, session: ReadSession
) -> HoldDetailView:
    """For payer and payee; anybody else gets 404."""
    hold = await holds.get(
        session,
        principal_id=caller.principal_id,
        hold_id=_id(hold_id),
        assets=services.assets,
    )
    taken = await holds.captures(session, hold_id=hold.id, assets=services.assets)
    return HoldDetailView(
        **HoldView.of(hold).model_dump(), captures=[CaptureView.of(one) for one in taken]
    )


def _id(hold_id: str) -> str:
    if not is_id(hold_id, "hld"):
        raise NotFound("There is no such hold.")
    return hold_id


def _created(hold: Hold) -> Answer:
    return answer(201, HoldView.of(hold), location=f"/v1/holds/{hold.id}")


def _shown(hold: Hold) -> Answer:
    return answer(200, HoldView.of(hold))

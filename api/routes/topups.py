"""Money into the wallet: by card or bank transfer, and where transfers are sent."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field, StringConstraints
from starlette.responses import Response

from api import idempotency
from api.authentication import CallerDep, client_of
from api.cursors import DEFAULT_LIMIT, CursorText, Limit, decode, next_cursor
from api.errors import documented
from api.gateway import bank_of
from api.idempotency import OnceDep, answer
from api.route import StrictRoute
from api.routes.cards import CARD_ID, CardView
from api.schemas import MOMENT_EXAMPLE, Moment, MoneyIn, MoneyOut, Page, Schema, View
from api.state import ReadSession, ServicesDep
from wallet import topups
from wallet.bootstrap import Services
from wallet.db import Session
from wallet.errors import NotFound
from wallet.idempotency import Answer
from wallet.ids import is_id
from wallet.topups import BankDetails, Topup, TopupDraft, tries

router = APIRouter(prefix="/v1", tags=["topups"], route_class=StrictRoute)

DEFAULT_ASSET = "EUR"


class TopupCreate(Schema):
    """How much, and from where."""

    money: MoneyIn = Field(description="What is to be credited; fiat.")
    method: Literal["card", "bank_transfer"] = Field(
        description="`card` takes it now; `bank_transfer` announces a transfer.", examples=["card"]
    )
    source: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = Field(
        default=None, description="A bound card, where the method is `card`.", examples=[CARD_ID]
    )


class BankDetailsView(View):
    """Where a bank transfer is sent, and what has to be written on it."""

    asset: str = Field(description="For transfers in this asset.", examples=["EUR"])
    bank: str = Field(description="The bank.", examples=["Simulated Bank"])
    holder: str = Field(description="Whose account it is.", examples=["Bifold"])
    account: str = Field(description="The account.", examples=["SIM-EUR"])
    reference: str = Field(
        description="Names the caller, always the same (ISO 11649). A transfer without it waits"
        " for an operator.",
        examples=["RF18K7MWXA3QTC"],
    )
    simulated: bool = Field(description="Play money at a play bank.", examples=[True])

    @classmethod
    def of(cls, details: BankDetails) -> BankDetailsView:
        """From the domain."""
        return cls(
            asset=details.asset,
            bank=details.bank,
            holder=details.holder,
            account=details.account,
            reference=details.reference,
            simulated=details.simulated,
        )


class NextActionView(View):
    """What the person does next."""

    type: Literal["three_d_secure", "bank_transfer"] = Field(
        description="`three_d_secure`: go to `url` and confirm. `bank_transfer`: send it there.",
        examples=["three_d_secure"],
    )
    url: str | None = Field(
        description="Where the card's holder confirms.",
        examples=["http://localhost:8000/top-up/top_01JD3VQ4T0Z8Y6X5W4V3T2S1R0/check"],
    )
    bank_details: BankDetailsView | None = Field(
        description="Where the transfer is sent.", examples=[None]
    )


class TopupView(View):
    """A top-up."""

    id: str = Field(description="Top-up id.", examples=["top_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"])
    status: str = Field(
        description="`pending`, then `succeeded` or `failed`; `charged_back` when the card's bank"
        " took it back.",
        examples=["succeeded"],
    )
    money: MoneyOut = Field(description="What is credited when it succeeds.")
    method: str = Field(description="`card` or `bank_transfer`.", examples=["card"])
    card: CardView | None = Field(
        description="The card, also once it is removed.",
        examples=[
            {
                "id": CARD_ID, "brand": "visa", "last4": "4242", "exp_month": 12,
                "exp_year": 2049, "created_at": MOMENT_EXAMPLE,
            }
        ],
    )  # fmt: skip
    waiting_for: str | None = Field(
        description="While it is pending: `gateway_answer`, `three_d_secure`,"
        " `gateway_settlement`, `bank_transfer` or `review`.",
        examples=["gateway_answer"],
    )
    next_action: NextActionView | None = Field(
        description="What the person does next, if anything.", examples=[None]
    )
    reason: str | None = Field(
        description="Why it failed.", examples=["The card's bank declined it."]
    )
    expires_at: Moment | None = Field(
        description="When it is given up if nothing comes.", examples=[MOMENT_EXAMPLE]
    )
    created_at: Moment = Field(description="When it was made.", examples=[MOMENT_EXAMPLE])
    ended_at: Moment | None = Field(
        description="When it last came to an end.", examples=[MOMENT_EXAMPLE]
    )

    @classmethod
    def of(cls, topup: Topup, details: BankDetails | None) -> TopupView:
        """From the domain; `details` where a transfer is waited for."""
        action = None
        if topup.action_url is not None:
            action = NextActionView(type="three_d_secure", url=topup.action_url, bank_details=None)
        elif details is not None and topup.waiting_for == "bank_transfer":
            action = NextActionView(
                type="bank_transfer", url=None, bank_details=BankDetailsView.of(details)
            )
        return cls(
            id=topup.id,
            status=topup.status,
            money=MoneyOut.of(topup.money),
            method=topup.method,
            card=CardView.of(topup.card) if topup.card else None,
            waiting_for=topup.waiting_for,
            next_action=action,
            reason=topup.reason,
            expires_at=topup.expires_at,
            created_at=topup.created_at,
            ended_at=topup.ended_at,
        )


async def shown(session: Session, services: Services, found: list[Topup]) -> list[TopupView]:
    """With the bank's details beside those that wait for a transfer: their reference is known."""
    details: dict[str, BankDetails] = {}
    for one in found:
        code = one.money.asset.code
        if one.waiting_for == "bank_transfer" and code not in details:
            details[code] = await topups.bank_details(
                session,
                bank_of(services),
                assets=services.assets,
                principal_id=one.principal_id,
                asset=code,
            )
    return [TopupView.of(one, details.get(one.money.asset.code)) for one in found]


@router.get(
    "/bank-details",
    response_model=BankDetailsView,
    summary="Where to send a bank transfer",
    responses=documented(("unauthenticated", "unknown_asset", "invalid_field")),
)
async def bank_details(
    caller: CallerDep,
    services: ServicesDep,
    asset: Annotated[str, Query(description="In which asset.", examples=["EUR"])] = DEFAULT_ASSET,
) -> BankDetailsView:
    """With the reference that names the caller: it is made once and stays."""

    async def work(session: Session) -> BankDetailsView:
        return BankDetailsView.of(
            await topups.bank_details(
                session,
                bank_of(services),
                assets=services.assets,
                principal_id=caller.principal_id,
                asset=asset,
            )
        )

    return await services.db.run(work)


@router.post(
    "/topups",
    status_code=201,
    response_model=TopupView,
    summary="Top up",
    responses=documented(
        (*idempotency.CODES, "unauthenticated", "invalid_field", "unknown_asset",
         "amount_must_be_string", "amount_malformed", "amount_precision", "amount_not_positive",
         "amount_too_large", "too_many_pending", "rate_limited")
    ),
)  # fmt: skip
async def create(
    body: TopupCreate, request: Request, caller: CallerDep, services: ServicesDep, once: OnceDep
) -> Response:
    """Nothing is credited before the gateway or the bank has the money. Those from a card are
    counted, by person and by client: 30 and 120 an hour, declined ones too."""
    draft = TopupDraft(body.money.money(services.assets), body.method, body.source)

    async def count() -> None:
        if draft.method == "card":
            await tries.count_try(
                services.db, "pay", principal_id=caller.principal_id, client=client_of(request)
            )

    async def work(session: Session) -> Answer:
        made = await topups.create(
            session, assets=services.assets, principal_id=caller.principal_id, draft=draft
        )
        (view,) = await shown(session, services, [made])
        return answer(201, view, location=f"/v1/topups/{made.id}")

    return await once(work, before=count)


@router.get(
    "/topups",
    response_model=Page[TopupView],
    summary="The caller's top-ups",
    responses=documented(("unauthenticated", "invalid_cursor")),
)
async def page(
    caller: CallerDep,
    services: ServicesDep,
    session: ReadSession,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> Page[TopupView]:
    """Newest first."""
    rows = await topups.page(
        session,
        assets=services.assets,
        principal_id=caller.principal_id,
        limit=limit,
        cursor=decode(cursor),
    )
    some, after = next_cursor(rows, limit, lambda row: (row.created_at, row.id))
    return Page(data=await shown(session, services, list(some)), next_cursor=after)


@router.get(
    "/topups/{topup_id}",
    response_model=TopupView,
    summary="One top-up",
    responses=documented(("unauthenticated", "not_found")),
)
async def get(
    topup_id: str, caller: CallerDep, services: ServicesDep, session: ReadSession
) -> TopupView:
    """As it is now."""
    if not is_id(topup_id, "top"):
        raise NotFound("There is no such top-up.")
    found = await topups.get(
        session, assets=services.assets, principal_id=caller.principal_id, topup_id=topup_id
    )
    (view,) = await shown(session, services, [found])
    return view

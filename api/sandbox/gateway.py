"""The simulated card gateway: test cards, the 3-D Secure answer, and a charge-back on demand."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field, StringConstraints

from api.errors import documented
from api.gateway import gateway_of
from api.route import StrictRoute
from api.sandbox.chain import GUARD_CODES
from api.sandbox.guard import guard
from api.schemas import Schema, View
from api.state import ServicesDep
from wallet.bootstrap import Services
from wallet.topups.simgate_cards import TEST_CARDS

router = APIRouter(
    prefix="/sandbox", tags=["sandbox"], route_class=StrictRoute, dependencies=[Depends(guard)]
)

TOPUP_ID = "top_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"
TopupId = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class CardTokenCreate(Schema):
    """Which test card."""

    test_card: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(
        description=f"One of {', '.join(f'`{name}`' for name in TEST_CARDS)}.",
        examples=["visa_ok"],
    )


class CardTokenView(View):
    """What the gateway's own form gives."""

    token: str = Field(
        description="For `POST /v1/cards`.", examples=["tok_sim_kzqhfmwtbyxdcrnvgpaejusk"]
    )
    brand: str = Field(description="Its brand.", examples=["visa"])
    last4: str = Field(description="Its last four digits.", examples=["4242"])


class CardCheck(Schema):
    """The card holder's answer."""

    topup: TopupId = Field(description="Which top-up.", examples=[TOPUP_ID])
    agreed: bool = Field(description="Whether they confirm it.", examples=[True])


class ChargeBack(Schema):
    """What is taken back."""

    topup: TopupId = Field(description="A top-up by card that succeeded.", examples=[TOPUP_ID])


class ChargeView(View):
    """What the gateway says now; the top-up follows within seconds."""

    topup: str = Field(description="Which top-up.", examples=[TOPUP_ID])
    status: str = Field(
        description="`succeeded`, `declined` or `charged_back`.", examples=["succeeded"]
    )


@router.post(
    "/card-tokens",
    status_code=201,
    response_model=CardTokenView,
    summary="A test card's token",
    responses=documented(GUARD_CODES),
)
async def tokenise(body: CardTokenCreate, services: ServicesDep) -> CardTokenView:
    """What the gateway's own form does elsewhere: no number comes to this server."""
    facts = await gateway_of(services).tokenise(body.test_card)
    return CardTokenView(token=facts.token, brand=facts.brand, last4=facts.last4)


@router.post(
    "/card-checks",
    response_model=ChargeView,
    summary="Answer 3-D Secure",
    responses=documented((*GUARD_CODES, "not_found", "invalid_state")),
)
async def check(body: CardCheck, services: ServicesDep) -> ChargeView:
    """As the card's holder."""
    await gateway_of(services).confirm(body.topup, agreed=body.agreed)
    return await _charge(services, body.topup)


@router.post(
    "/charge-backs",
    response_model=ChargeView,
    summary="Take a card payment back",
    responses=documented((*GUARD_CODES, "not_found", "invalid_state")),
)
async def charge_back(body: ChargeBack, services: ServicesDep) -> ChargeView:
    """As the card's bank, whether the money was spent or not."""
    await gateway_of(services).charge_back(body.topup)
    return await _charge(services, body.topup)


async def _charge(services: Services, topup_id: str) -> ChargeView:
    said = await gateway_of(services).query(topup_id)
    return ChargeView(topup=topup_id, status=said.status if said else "unknown")

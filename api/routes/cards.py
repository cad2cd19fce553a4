"""Bound cards: a token of the gateway, and what people know the card by. Never its number."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field, StringConstraints
from starlette.responses import Response

from api.authentication import CallerDep, client_of
from api.errors import documented
from api.gateway import gateway_of
from api.route import StrictRoute
from api.schemas import MOMENT_EXAMPLE, Moment, Schema, View
from api.state import ReadSession, ServicesDep
from wallet.db import Session
from wallet.errors import NotFound
from wallet.ids import is_id
from wallet.topups import Card, cards, tries

router = APIRouter(prefix="/v1", tags=["topups"], route_class=StrictRoute)

CARD_ID = "crd_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"


class CardCreate(Schema):
    """A card to bind."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(
        description="From the gateway's own form; a card's number is refused. In the sandbox:"
        " `POST /sandbox/card-tokens`.",
        examples=["tok_sim_kzqhfmwtbyxdcrnvgpaejusk"],
    )


class CardView(View):
    """A bound card."""

    id: str = Field(description="Card id: the `source` of a top-up.", examples=[CARD_ID])
    brand: str = Field(description="Its brand.", examples=["visa"])
    last4: str = Field(description="The last four digits of its number.", examples=["4242"])
    exp_month: int = Field(description="Month it expires in.", examples=[12])
    exp_year: int = Field(description="Year it expires in.", examples=[2049])
    created_at: Moment = Field(description="When it was bound.", examples=[MOMENT_EXAMPLE])

    @classmethod
    def of(cls, card: Card) -> CardView:
        """From the domain."""
        return cls(
            id=card.id,
            brand=card.brand,
            last4=card.last4,
            exp_month=card.exp_month,
            exp_year=card.exp_year,
            created_at=card.created_at,
        )


class CardList(View):
    """All of the caller's cards."""

    data: list[CardView] = Field(description="Newest first; at most 20.")


@router.post(
    "/cards",
    status_code=201,
    response_model=CardView,
    summary="Bind a card",
    responses=documented(
        ("unauthenticated", "card_not_usable", "card_number_refused", "too_many_pending",
         "gateway_unavailable", "rate_limited")
    ),
)  # fmt: skip
async def bind(
    body: CardCreate, request: Request, caller: CallerDep, services: ServicesDep
) -> CardView:
    """By its token; the same token again is the same card. Counted, by person and by client: 30 and
    120 an hour, also those the gateway does not know."""
    gateway = gateway_of(services)
    await tries.count_try(
        services.db, "bind", principal_id=caller.principal_id, client=client_of(request)
    )
    facts = await cards.look_up(gateway, body.token)

    async def work(session: Session) -> CardView:
        return CardView.of(
            await cards.bind(
                session, principal_id=caller.principal_id, gateway=gateway.name, facts=facts
            )
        )

    return await services.db.run(work)


@router.get(
    "/cards",
    response_model=CardList,
    summary="The caller's cards",
    responses=documented(("unauthenticated",)),
)
async def bound(caller: CallerDep, session: ReadSession) -> CardList:
    """Those that are bound now."""
    found = await cards.bound(session, principal_id=caller.principal_id)
    return CardList(data=[CardView.of(card) for card in found])


@router.get(
    "/cards/{card_id}",
    response_model=CardView,
    summary="One card",
    responses=documented(("unauthenticated", "not_found")),
)
async def get(card_id: str, caller: CallerDep, session: ReadSession) -> CardView:
    """While it is bound."""
    return CardView.of(
        await cards.get(session, principal_id=caller.principal_id, card_id=_id(card_id))
    )


@router.delete(
    "/cards/{card_id}",
    status_code=204,
    response_class=Response,
    summary="Unbind a card",
    responses=documented(("unauthenticated", "not_found")),
)
async def remove(card_id: str, caller: CallerDep, services: ServicesDep) -> Response:
    """Its token becomes worthless; a payment under way goes on."""

    async def work(session: Session) -> None:
        await cards.remove(session, principal_id=caller.principal_id, card_id=_id(card_id))

    await services.db.run(work)
    return Response(status_code=204)


def _id(card_id: str) -> str:
    if not is_id(card_id, "crd"):
        raise NotFound("There is no such card.")
    return card_id

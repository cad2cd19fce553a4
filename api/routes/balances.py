"""What a person has."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import Field

from api.authentication import CallerDep
from api.errors import documented
from api.route import StrictRoute
from api.schemas import MOMENT_EXAMPLE, Moment, View
from api.state import ReadSession, ServicesDep
from wallet import clock, deposits, ledger
from wallet.ledger import Balance
from wallet.money import AssetBook, format_amount

router = APIRouter(prefix="/v1", tags=["balances"], route_class=StrictRoute)


class BalanceView(View):
    """One asset. `total = available + held`; `pending` stands outside."""

    asset: str = Field(description="Asset code.", examples=["USDC"])
    available: str = Field(description="Can be spent now.", examples=["100.000000"])
    held: str = Field(description="Set aside for what is under way.", examples=["0.000000"])
    pending: str = Field(
        description="Seen on chain, not yet final, not spendable.", examples=["25.000000"]
    )
    total: str = Field(description="Available and held.", examples=["100.000000"])


class BalancesView(View):
    """All balances at one moment."""

    data: list[BalanceView] = Field(description="One row an asset that was ever touched.")
    as_of: Moment = Field(description="When they were read.", examples=[MOMENT_EXAMPLE])


@router.get(
    "/balances",
    response_model=BalancesView,
    summary="Balances",
    responses=documented(("unauthenticated",)),
)
async def balances(caller: CallerDep, services: ServicesDep, session: ReadSession) -> BalancesView:
    """Read in one snapshot: the rows belong together."""
    booked = {
        one.asset: one for one in await ledger.balances(session, principal_id=caller.principal_id)
    }
    pending = await deposits.pending(session, principal_id=caller.principal_id)
    return BalancesView(
        data=[
            _balance(code, booked.get(code), pending.get(code, 0), services.assets)
            for code in sorted(booked.keys() | pending.keys())
        ],
        as_of=await clock.now(session),
    )


def _balance(code: str, booked: Balance | None, pending: int, assets: AssetBook) -> BalanceView:
    scale = assets.get(code).scale
    return BalanceView(
        asset=code,
        available=format_amount(booked.available_minor if booked else 0, scale),
        held=format_amount(booked.held_minor if booked else 0, scale),
        pending=format_amount(pending, scale),
        total=format_amount(booked.total_minor if booked else 0, scale),
    )

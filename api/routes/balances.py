"""What a person has."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import Field

from api.authentication import CallerDep
from api.errors import documented
from api.route import StrictRoute
from api.schemas import MOMENT_EXAMPLE, Moment, View, shown
from api.state import ServicesDep
from wallet import deposits
from wallet.clock import rfc3339
from wallet.deposits import Holding
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
async def balances(caller: CallerDep, services: ServicesDep) -> Response:
    """Read at one moment: the rows belong together."""
    async with services.db.reading() as reader:
        as_of, rows = await deposits.holdings(reader, principal_id=caller.principal_id)
    return shown({"data": [_raw(row, services.assets) for row in rows], "as_of": rfc3339(as_of)})


def _raw(row: Holding, assets: AssetBook) -> dict[str, str]:
    """One asset as `BalanceView` writes it."""
    scale = assets.known(row.asset).scale
    return {
        "asset": row.asset,
        "available": format_amount(row.total_minor - row.held_minor, scale),
        "held": format_amount(row.held_minor, scale),
        "pending": format_amount(row.pending_minor, scale),
        "total": format_amount(row.total_minor, scale),
    }

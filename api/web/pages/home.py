"""Home: one total, two folds, what happened last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from api.web.holdings import Holding, holdings, total_of
from api.web.route import WebRoute
from api.web.visit import Visit, member
from wallet import activity
from wallet.db import reader_of

ROWS = 8
UNFINISHED = frozenset(
    {
        "seen", "confirmed", "held", "signed", "broadcast", "mined", "created", "funded",
        "converted", "settling", "paying_out",
    }
)  # fmt: skip

router = APIRouter(route_class=WebRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Fold:
    """One side of the wallet: `fiat` or `chains`."""

    kind: str
    holdings: list[Holding]


@router.get("/home")
async def home(visit: Annotated[Visit, Depends(member)]) -> Response:
    """The page a wallet is opened for."""
    services, person = visit.services, visit.member
    async with services.db.snapshot() as session:
        held = await holdings(session, services, person.id)
        total = await total_of(session, held, services.assets.known(person.display_asset))
        rows = await activity.page(
            await reader_of(session),
            principal_id=person.id,
            limit=ROWS,
            cursor=None,
            assets=services.assets,
        )
    fiat = [one for one in held if one.asset.kind == "fiat"]
    chains = [one for one in held if one.asset.kind != "fiat"]
    shown = rows[:ROWS]
    return visit.page(
        "home.html",
        folds=[Fold("fiat", fiat), Fold("chains", chains)],
        total=total,
        activity=shown,
        waiting=any(one.status in UNFINISHED for one in shown),
    )

"""One timeline of everything that happened to a person's money."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from api.authentication import CallerDep
from api.cursors import DEFAULT_LIMIT, CursorText, Limit, decode, next_cursor
from api.errors import documented
from api.route import StrictRoute
from api.schemas import MOMENT_EXAMPLE, Moment, MoneyOut, Page, View, shown
from api.state import ServicesDep, state_of
from wallet import activity
from wallet.activity import Activity, ActivityFilter
from wallet.clock import rfc3339
from wallet.errors import NotFound

router = APIRouter(prefix="/v1", tags=["activity"], route_class=StrictRoute)

Kind = Literal["transfer", "deposit", "withdrawal", "conversion", "payment", "topup", "hold"]
PATHS: dict[str, str] = {
    "transfer": "/v1/transfers/{id}",
    "deposit": "/v1/deposits/{id}",
    "withdrawal": "/v1/withdrawals/{id}",
    "conversion": "/v1/conversions/{id}",
    "payment": "/v1/payments/{id}",
    "hold": "/v1/holds/{id}",
    "topup": "/v1/topups/{id}",
}
MAX_ID_CHARS = 64


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise PydanticCustomError(
            "invalid_field", "A time needs its zone, for example 2026-01-31T09:00:00Z."
        )
    return moment


def _plain(words: str) -> str:
    if "\0" in words:
        raise PydanticCustomError("invalid_field", "NUL is not text.")
    return words


When = Annotated[datetime, AfterValidator(_aware)]
Words = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_plain)]


class CounterpartyView(View):
    """Who or what was on the other side."""

    reference: str | None = Field(
        description="Handle, address or name, by kind.", examples=["@grace_1906"]
    )
    name: str | None = Field(
        description="Their name, the network or the corridor.", examples=["Grace Hopper"]
    )


class LinksView(View):
    """Where to read more."""

    self: str | None = Field(
        description="The resource behind this line.",
        examples=["/v1/transfers/trf_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"],
    )


class ActivityView(View):
    """One line of the timeline."""

    id: str = Field(description="Id of the resource.", examples=["trf_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"])
    kind: str = Field(
        description="`transfer`, `deposit`, `withdrawal`, `conversion`, `payment` or `topup`.",
        examples=["transfer"],
    )
    status: str = Field(description="The resource's own status.", examples=["completed"])
    direction: str = Field(description="`in`, `out` or `exchange`.", examples=["out"])
    money: MoneyOut = Field(description="What moved; of an exchange, what was given.")
    fee: MoneyOut | None = Field(
        description="Fee; while a withdrawal runs, its bound.",
        examples=[{"amount": "0.25", "asset": "EUR"}],
    )
    target: MoneyOut | None = Field(
        description="What is received, where it is another asset.",
        examples=[{"amount": "740.11", "asset": "MXN"}],
    )
    counterparty: CounterpartyView | None = Field(
        description="The other side, where there is one.",
        examples=[{"reference": "@grace_1906", "name": "Grace Hopper"}],
    )
    note: str | None = Field(description="Note or reference.", examples=["for lunch"])
    created_at: Moment = Field(description="When it began.", examples=[MOMENT_EXAMPLE])
    links: LinksView = Field(description="The resource behind it.")

    @classmethod
    def of(cls, line: Activity) -> ActivityView:
        """From the domain."""
        path = PATHS.get(line.kind)
        known = line.counterparty is not None or line.counterparty_name is not None
        return cls(
            id=line.id,
            kind=line.kind,
            status=line.status,
            direction=line.direction,
            money=MoneyOut.of(line.money),
            fee=MoneyOut.of(line.fee) if line.fee else None,
            target=MoneyOut.of(line.target) if line.target else None,
            counterparty=CounterpartyView(reference=line.counterparty, name=line.counterparty_name)
            if known
            else None,
            note=line.note,
            created_at=line.created_at,
            links=LinksView(self=path.format(id=line.id) if path else None),
        )


def _raw(line: Activity) -> dict[str, object]:
    """The same line as `ActivityView` writes it."""
    path = PATHS.get(line.kind)
    known = line.counterparty is not None or line.counterparty_name is not None
    return {
        "id": line.id,
        "kind": line.kind,
        "status": line.status,
        "direction": line.direction,
        "money": line.money.json(),
        "fee": line.fee.json() if line.fee else None,
        "target": line.target.json() if line.target else None,
        "counterparty": {"reference": line.counterparty, "name": line.counterparty_name}
        if known
        else None,
        "note": line.note,
        "created_at": rfc3339(line.created_at),
        "links": {"self": path.format(id=line.id) if path else None},
    }


@router.get(
    "/activity",
    response_model=Page[ActivityView],
    summary="The timeline",
    responses=documented(("unauthenticated", "invalid_cursor", "unknown_asset")),
)
async def page(
    caller: CallerDep,
    services: ServicesDep,
    request: Request,
    kind: Annotated[Kind | None, Query(description="Only this kind.", examples=["deposit"])] = None,
    asset: Annotated[
        str | None, Query(description="Only lines that touch this asset.", examples=["EUR"])
    ] = None,
    since: Annotated[
        When | None,
        Query(alias="from", description="Not before this moment.", examples=[MOMENT_EXAMPLE]),
    ] = None,
    until: Annotated[
        When | None,
        Query(alias="to", description="Before this moment.", examples=[MOMENT_EXAMPLE]),
    ] = None,
    q: Annotated[
        Words | None,
        Query(description="Words in id, counterparty or note.", examples=["lunch"]),
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> Response:
    """Transfers, deposits, withdrawals, conversions, payments and top-ups, newest first."""
    if asset is not None:
        services.assets.known(asset, field="/query/asset")
    behind = decode(cursor)
    searches = state_of(request).searches
    searching = searches.turn(caller.principal_id) if q is not None else nullcontext()
    async with searching, services.db.reading() as reader:
        rows = await activity.page(
            reader,
            principal_id=caller.principal_id,
            limit=limit,
            cursor=behind,
            assets=services.assets,
            only=ActivityFilter(kind=kind, asset=asset, since=since, until=until, words=q),
        )
    of_page, after = next_cursor(rows, limit, lambda row: (row.created_at, row.id))
    return shown({"data": [_raw(row) for row in of_page], "next_cursor": after})


@router.get(
    "/activity/{activity_id}",
    response_model=ActivityView,
    summary="One line of the timeline",
    responses=documented(("unauthenticated", "not_found")),
)
async def get(activity_id: str, caller: CallerDep, services: ServicesDep) -> ActivityView:
    """By the id of its resource."""
    if "\0" in activity_id or len(activity_id) > MAX_ID_CHARS:
        raise NotFound("There is no such activity.")
    async with services.db.reading() as reader:
        line = await activity.get(
            reader,
            principal_id=caller.principal_id,
            activity_id=activity_id,
            assets=services.assets,
        )
    return ActivityView.of(line)

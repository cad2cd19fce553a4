"""Statements of account."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field

from api.authentication import CallerDep
from api.errors import documented
from api.route import StrictRoute
from api.routes.activity import When
from api.schemas import MOMENT_EXAMPLE, Moment, MoneyOut, View
from api.state import ReadSession, ServicesDep
from wallet import statements
from wallet.errors import NotAcceptable
from wallet.statements import Statement, StatementLine

router = APIRouter(prefix="/v1", tags=["statements"], route_class=StrictRoute)


class StatementLineView(View):
    """One posting on the account."""

    seq: int = Field(description="Its number in the account, without a gap.", examples=[7])
    entry_id: str = Field(
        description="The entry of the books.", examples=["ent_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"]
    )
    kind: str = Field(description="What was booked.", examples=["transfer"])
    reference: str = Field(
        description="What it was booked for.", examples=["trf_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"]
    )
    money: MoneyOut = Field(description="Signed: with a minus it left the account.")
    balance: MoneyOut = Field(description="The balance after this line.")
    event_at: Moment = Field(description="When it happened.", examples=[MOMENT_EXAMPLE])
    booked_at: Moment = Field(
        description="When it was booked; this decides the period.", examples=[MOMENT_EXAMPLE]
    )

    @classmethod
    def of(cls, line: StatementLine) -> StatementLineView:
        """From the domain."""
        return cls(
            seq=line.seq,
            entry_id=line.entry_id,
            kind=line.kind,
            reference=line.reference,
            money=MoneyOut.of(line.money),
            balance=MoneyOut.of(line.balance),
            event_at=line.event_at,
            booked_at=line.booked_at,
        )


class StatementView(View):
    """One account over a period."""

    asset: str = Field(description="Asset code.", examples=["EUR"])
    since: Moment = Field(
        serialization_alias="from", description="Start, included.", examples=[MOMENT_EXAMPLE]
    )
    until: Moment = Field(
        serialization_alias="to", description="End, not included.", examples=[MOMENT_EXAMPLE]
    )
    opening: MoneyOut = Field(description="The balance at the start.")
    closing: MoneyOut = Field(description="The balance at the end: opening and all lines.")
    lines: list[StatementLineView] = Field(description="Every posting, oldest first.")

    @classmethod
    def of(cls, made: Statement) -> StatementView:
        """From the domain."""
        return cls(
            asset=made.asset.code,
            since=made.since,
            until=made.until,
            opening=MoneyOut.of(made.opening),
            closing=MoneyOut.of(made.closing),
            lines=[StatementLineView.of(line) for line in made.lines],
        )


_CSV: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The statement.",
        "content": {"text/csv": {"schema": {"type": "string"}}},
    }
}


@router.get(
    "/statements",
    response_model=StatementView,
    summary="A statement of account",
    responses={
        **_CSV,
        **documented(("unauthenticated", "unknown_asset", "invalid_field", "not_acceptable")),
    },
)
async def get(
    caller: CallerDep,
    services: ServicesDep,
    session: ReadSession,
    asset: Annotated[str, Query(description="The account's asset.", examples=["EUR"])],
    since: Annotated[
        When, Query(alias="from", description="Start, included.", examples=[MOMENT_EXAMPLE])
    ],
    until: Annotated[
        When | None,
        Query(alias="to", description="End, not included; now.", examples=[MOMENT_EXAMPLE]),
    ] = None,
    form: Annotated[
        Literal["json", "csv", "pdf"],
        Query(alias="format", description="`pdf` is not given yet.", examples=["csv"]),
    ] = "json",
) -> StatementView | Response:
    """Opening, every line with its running balance, closing; at most 366 days or 10,000 lines.
    Asked as `pdf` it answers 406: this instance makes JSON and CSV."""
    known = services.assets.get(asset, field="/query/asset")
    if form == "pdf":
        raise NotAcceptable("Statements are given as json and csv.", field="/query/format")
    made = await statements.build(
        session,
        principal_id=caller.principal_id,
        asset=known,
        since=since,
        until=until,
    )
    if form == "json":
        return StatementView.of(made)
    name = f"statement-{known.code}-{made.since:%Y%m%d}-{made.until:%Y%m%d}.csv"
    return Response(
        statements.as_csv(made),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )

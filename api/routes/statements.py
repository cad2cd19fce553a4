"""Statements of account."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from api.authentication import CallerDep
from api.errors import documented
from api.route import StrictRoute
from api.routes.activity import When
from api.schemas import MOMENT_EXAMPLE, Moment, MoneyOut, View, shown
from api.state import ServicesDep
from api.web import statement_files
from api.web.i18n import load_languages, negotiate
from api.web.statement_files import StatementForm
from wallet.clock import rfc3339
from wallet.statements import Statement

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


def raw(made: Statement) -> dict[str, object]:
    """As `StatementView` writes it."""
    return {
        "asset": made.asset.code,
        "from": rfc3339(made.since),
        "to": rfc3339(made.until),
        "opening": made.opening.json(),
        "closing": made.closing.json(),
        "lines": [
            {
                "seq": line.seq,
                "entry_id": line.entry_id,
                "kind": line.kind,
                "reference": line.reference,
                "money": line.money.json(),
                "balance": line.balance.json(),
                "event_at": rfc3339(line.event_at),
                "booked_at": rfc3339(line.booked_at),
            }
            for line in made.lines
        ],
    }


_FORMS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The statement.",
        "content": {
            "text/csv": {"schema": {"type": "string"}},
            "application/pdf": {"schema": {"type": "string", "format": "binary"}},
            "application/xml": {"schema": {"type": "string"}},
        },
    }
}


@router.get(
    "/statements",
    response_model=StatementView,
    summary="A statement of account",
    responses={
        **_FORMS,
        **documented(("unauthenticated", "unknown_asset", "invalid_field", "not_acceptable")),
    },
)
async def get(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    asset: Annotated[str, Query(description="The account's asset.", examples=["EUR"])],
    since: Annotated[
        When, Query(alias="from", description="Start, included.", examples=[MOMENT_EXAMPLE])
    ],
    until: Annotated[
        When | None,
        Query(alias="to", description="End, not included; now.", examples=[MOMENT_EXAMPLE]),
    ] = None,
    form: Annotated[
        StatementForm,
        Query(
            alias="format",
            description="`pdf` speaks English or Chinese, by `Accept-Language`; `camt053` is ISO"
            " 20022 camt.053.001.08.",
            examples=["pdf"],
        ),
    ] = "json",
) -> Response:
    """Opening, every line with its running balance, closing; at most 366 days or 10,000 lines, as
    `pdf` 2,000. What camt.053 cannot say exactly (coins, very long amounts) is refused: 406."""
    known = services.assets.known(asset, field="/query/asset")
    made = await statement_files.read(
        services, principal_id=caller.principal_id, asset=known, since=since, until=until, form=form
    )
    if form == "json":
        return shown(raw(made.statement))
    languages = load_languages()
    language = languages[negotiate(request.headers.get("accept-language", ""), languages)]
    return await statement_files.answer(services, made, form=form, language=language)

"""Statements: one asset over a period, its figures on the page and the lines as a file."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, cast, get_args
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Depends
from starlette.responses import Response

from api.routes.statements import raw
from api.web import drafts, statement_files
from api.web.route import WebRoute
from api.web.statement_files import Made, StatementForm
from api.web.visit import Visit, member
from wallet import statements
from wallet.errors import InvalidField, NotAcceptable, WalletError
from wallet.money import Money
from wallet.statements import Statement

router = APIRouter(route_class=WebRoute, include_in_schema=False)
Member = Annotated[Visit, Depends(member)]
FIELDS = ("asset", "from", "to")
NAMES = {"pdf": "PDF", "csv": "CSV", "json": "JSON", "camt053": "camt.053 (XML)"}


@router.get("/statements")
async def enter(visit: Member) -> Response:
    """The form and what it says; this month of the person's own currency to begin with."""
    today = datetime.now(UTC).date()
    begin = (visit.member.display_asset, today.replace(day=1).isoformat(), today.isoformat())
    values = {
        name: visit.request.query_params.get(name, "").strip() or first
        for name, first in zip(FIELDS, begin, strict=True)
    }
    shown: dict[str, Any] = {"made": None, "errors": {}}
    try:
        made = await _made(visit, values, "json")
        shown |= _figures(made.statement) | {"files": _files(values, made.statement)}
    except WalletError as error:
        shown["errors"] = {_at(error): drafts.refusal_of(error)}
    assets = [*visit.services.assets, *visit.services.assets.retired]
    return visit.page("statements.html", values=values, assets=assets, **shown)


@router.get("/statements/file")
async def file(visit: Member) -> Response:
    """The same as a file, in the language of the page."""
    values = {name: visit.request.query_params.get(name, "") for name in FIELDS}
    asked = visit.request.query_params.get("format", "")
    if asked not in get_args(StatementForm):
        raise NotAcceptable("Statements are no such thing.", field="/query/format")
    form = cast(StatementForm, asked)
    try:
        made = await _made(visit, values, form)
        if form != "json":
            printed = await statement_files.answer(
                visit.services, made, form=form, language=visit.language
            )
            return visit.dressed(printed)
    except WalletError as error:
        return drafts.tell(visit, "/statements", error, at=_at(error))
    body = orjson.dumps(raw(made.statement), option=orjson.OPT_INDENT_2)
    return visit.dressed(statement_files.named(made, body, "json"))


async def _made(visit: Visit, values: dict[str, str], form: StatementForm) -> Made:
    """Days are UTC, and the last one belongs to the period."""
    since, last = _day(values["from"], "/query/from"), _day(values["to"], "/query/to")
    return await statement_files.read(
        visit.services,
        principal_id=visit.member.id,
        asset=visit.services.assets.known(values["asset"], field="/query/asset"),
        since=since,
        until=last + timedelta(days=1),
        form=form,
    )


def _day(text: str, at: str) -> datetime:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise InvalidField("Choose a day.", field=at) from None
    if not 1970 <= day.year <= 9000:
        raise InvalidField("Choose a day.", field=at)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _figures(made: Statement) -> dict[str, Any]:
    into = sum(line.money.minor for line in made.lines if line.money.minor > 0)
    out = sum(line.money.minor for line in made.lines if line.money.minor < 0)
    return {"made": made, "money_in": Money(into, made.asset), "money_out": Money(out, made.asset)}


def _files(values: dict[str, str], made: Statement) -> list[tuple[str, str]]:
    """Name and link of each form that can say this statement."""
    forms = ["pdf", "csv", "json"]
    try:
        statements.fits(made.asset)
        forms.append("camt053")
    except NotAcceptable:
        pass
    if len(made.lines) > statements.MAX_PAPER_LINES:
        forms.remove("pdf")
    return [
        (NAMES[one], f"/statements/file?{urlencode({**values, 'format': one})}") for one in forms
    ]


def _at(error: WalletError) -> str:
    """Beside the field of the form; what belongs to none stands above it."""
    field = (error.field or "").removeprefix("/query")
    return field if field in {"/asset", "/from", "/to"} else ""

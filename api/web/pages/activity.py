"""Everything that happened, with its filters in the URL, and each thing as a receipt."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends
from starlette.responses import Response

from api import cursors
from api.errors import InvalidCursor
from api.state import state_of
from api.web import receipts
from api.web.route import WebRoute
from api.web.visit import Visit, member
from wallet import activity
from wallet.activity import ActivityFilter
from wallet.db import reader_of

ROWS = 30
MAX_WORDS = 80

router = APIRouter(route_class=WebRoute, include_in_schema=False)
Member = Annotated[Visit, Depends(member)]


@router.get("/activity")
async def listed(visit: Member) -> Response:
    """Newest first; a filter that means nothing is left out rather than refused."""
    asked = {name: visit.request.query_params.get(name, "").strip() for name in _FILTERS}
    only = ActivityFilter(
        kind=asked["kind"] if asked["kind"] in activity.KINDS else None,
        asset=asked["asset"] if asked["asset"] in visit.services.assets else None,
        since=_day(asked["from"]),
        until=_day(asked["to"], end=True),
        words=asked["q"][:MAX_WORDS].replace("\0", "") or None,
    )
    try:
        cursor = cursors.decode(visit.request.query_params.get("cursor"))
    except InvalidCursor:
        cursor = None
    searches = state_of(visit.request).searches
    searching = searches.turn(visit.member.id) if only.words is not None else nullcontext()
    async with searching, visit.services.db.reading() as reader:
        rows = await activity.page(
            reader,
            principal_id=visit.member.id,
            limit=ROWS,
            cursor=cursor,
            assets=visit.services.assets,
            only=only,
        )
    shown, following = cursors.next_cursor(rows, ROWS, lambda row: (row.created_at, row.id))
    kept = {name: value for name, value in asked.items() if value}
    return visit.page(
        "activity.html",
        rows=shown,
        values=asked,
        filtered=bool(kept),
        first_page=cursor is None,
        next_url=f"/activity?{urlencode({**kept, 'cursor': following})}" if following else None,
        assets=[asset.code for asset in visit.services.assets],
        kinds_listed=activity.KINDS,
        waiting=False,
    )


@router.get("/activity/{activity_id}")
async def receipt(visit: Member, activity_id: str) -> Response:
    """One thing, with all its figures."""
    async with visit.services.db.snapshot() as session:
        item = await activity.get(
            await reader_of(session),
            principal_id=visit.member.id,
            activity_id=activity_id,
            assets=visit.services.assets,
        )
        shown = await receipts.read(session, visit, item)
    return visit.page(f"receipt_{item.kind}.html", item=item, **shown)


_FILTERS = ("kind", "asset", "from", "to", "q")


def _day(text: str, *, end: bool = False) -> datetime | None:
    """A date of a filter as a moment; `end` is the midnight after it."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return day + timedelta(days=1) if end and day.year < 9999 else day

"""People and accounts abroad: kept once, checked when they are made."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from api import cursors
from api.errors import InvalidCursor
from api.web.route import WebRoute
from api.web.visit import Visit, member
from wallet.fx import corridors
from wallet.payments import recipients

ROWS = 50

router = APIRouter(route_class=WebRoute, include_in_schema=False)


@router.get("/recipients")
async def listed(visit: Annotated[Visit, Depends(member)]) -> Response:
    """All of them, newest first, each with the corridors that lead there."""
    try:
        cursor = cursors.decode(visit.request.query_params.get("cursor"))
    except InvalidCursor:
        cursor = None
    async with visit.services.db.snapshot() as session:
        rows = await recipients.page(
            session, principal_id=visit.member.id, limit=ROWS, cursor=cursor
        )
    shown, following = cursors.next_cursor(rows, ROWS, lambda row: (row.created_at, row.id))
    return visit.page(
        "recipients.html",
        rows=shown,
        corridors=corridors.corridors(visit.services.assets),
        next_url=f"/recipients?cursor={following}" if following else None,
    )

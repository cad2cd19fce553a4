"""The stream that tells a page to look again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from api.web.route import WebRoute
from api.web.visit import Visit, visitor
from wallet.errors import RateLimited

router = APIRouter(route_class=WebRoute, include_in_schema=False)


@router.get("/live")
async def live(visit: Annotated[Visit, Depends(visitor)]) -> Response:
    """Server-sent events of this person. Signed out: 401; too many streams: 429, so poll."""
    if visit.session is None:
        return visit.dressed(PlainTextResponse("Sign in first.", 401))
    hub = visit.web.hub
    last = visit.request.headers.get("last-event-id") or visit.request.query_params.get("after")
    try:
        hub.admit(visit.session)
    except RateLimited:
        return visit.dressed(PlainTextResponse("Too many live pages are open.", 429))
    return visit.dressed(
        StreamingResponse(
            hub.stream(visit.session, last),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
    )

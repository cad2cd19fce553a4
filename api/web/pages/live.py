"""The stream that tells a page to look again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from api.web.events import Hub
from api.web.route import WebRoute
from api.web.visit import Visit, visitor
from wallet.errors import RateLimited
from wallet.identity import SignedIn

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
    return visit.dressed(_Stream(hub, visit.session, last))


class _Stream(StreamingResponse):
    """Gives its place back also where its client left before it began."""

    def __init__(self, hub: Hub, session: SignedIn, last: str | None) -> None:
        super().__init__(
            hub.stream(session, last),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        self._hub, self._session = hub, session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._hub.leave(self._session)

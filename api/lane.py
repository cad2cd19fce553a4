"""The short way to the hot routes: past the router, never past a check.

A request whose method and path are exactly those of a hot route goes to that route's own handler
at once; every other request, and every path with parameters, takes the router's way. Refusals are
told by the app's own exception handlers.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.hot import HotRoute

Handler = Callable[[Request], Awaitable[Response]]


class HotLane:
    """Pure ASGI, innermost: the body is whole and the request has its id when it comes here."""

    def __init__(self, app: ASGIApp, *, owner: FastAPI, routes: Iterable[object]) -> None:
        self._app = app
        self._owner = owner
        self._lanes: dict[tuple[str, str], tuple[HotRoute, Handler]] = {
            (method, route.path): (route, route.get_route_handler())
            for route in routes
            if isinstance(route, HotRoute) and "{" not in route.path
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        lane = (
            self._lanes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        )
        if lane is None:
            await self._app(scope, receive, send)
            return
        route, handle = lane
        scope["route"] = route
        scope["path_params"] = {}
        request = Request(scope, receive, send)
        try:
            response = await handle(request)
        except Exception as error:  # noqa: BLE001 - told by its handler, or raised again
            response = await self._told(request, error)
        await response(scope, receive, send)

    async def _told(self, request: Request, error: Exception) -> Response:
        """What the app's handler makes of it. Raises what has none: a defect, for the last net."""
        for kind in type(error).__mro__:
            tell = self._owner.exception_handlers.get(kind)
            if tell is not None:
                told: Any = tell(request, error)
                return cast(Response, await told if inspect.isawaitable(told) else told)
        raise error

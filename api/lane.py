"""The short way to the hot routes: past router and frame, never past a check.

A request whose method and path are exactly those of a hot route goes to that route's own handler
at once, between the same two middlewares as all others; every other request, and every path with
parameters, takes the framework's way. Refusals are told by the app's own exception handlers.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.hot import HotRoute

Handler = Callable[[Request], Awaitable[Response]]


class LanedApp(FastAPI):
    """An app that may have a lane in front of it."""

    _lane: HotLane | None = None
    _around: ASGIApp

    def lane(self, routes: Iterable[object], around: Callable[[ASGIApp], ASGIApp]) -> None:
        """Serve those of `routes` that are hot by the short way; `around`: the middlewares."""
        self._lane = HotLane(self, routes)
        self._around = around(self._lane)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._lane is not None and scope["type"] == "http" and self._lane.serves(scope):
            scope["app"] = self
            await self._around(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


class HotLane:
    """Pure ASGI, innermost: the body is whole and the request has its id when it comes here."""

    def __init__(self, owner: FastAPI, routes: Iterable[object]) -> None:
        self._owner = owner
        self._lanes: dict[tuple[str, str], tuple[HotRoute, Handler]] = {
            (method, route.path): (route, route.get_route_handler())
            for route in routes
            if isinstance(route, HotRoute) and "{" not in route.path
            for method in route.methods or ()
        }

    def serves(self, scope: Scope) -> bool:
        """Whether this request is a hot route's."""
        return (scope["method"], scope["path"]) in self._lanes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route, handle = self._lanes[scope["method"], scope["path"]]
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

"""Routes of `/v1` and `/sandbox`: the body is parsed strictly before FastAPI sees it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from api import strict_json
from api.errors import UnsupportedMediaType


async def take_body(request: Request) -> None:
    """Parse the body, where there is one. Raises UnsupportedMediaType, MalformedJson, …"""
    body = await request.body()
    if body:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise UnsupportedMediaType("Send the body as application/json.")
        # Starlette keeps the parsed body here; handlers and dependencies share it.
        request._json = strict_json.parse(body)
        request.scope["bifold.json"] = request._json


class StrictRoute(APIRoute):
    """APIRoute whose `request.json()` is `api.strict_json`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The usual handler behind the strict parser."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            await take_body(request)
            return await handle(request)

        return strict

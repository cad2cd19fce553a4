"""Routes of `/v1` and `/sandbox`: the body is parsed strictly before FastAPI sees it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from api import strict_json
from api.body import BODY
from api.errors import FieldError, InvalidFields, UnsupportedMediaType

NONE_TAKEN = "This takes no body."


async def take_body(request: Request, *, bodiless: bool = False) -> None:
    """Parse the body, where there is one. `bodiless`: the route takes none, `null` or `{}`.

    Raises UnsupportedMediaType, MalformedJson, …, InvalidFields where there is something in it.
    """
    body = request.scope.get(BODY)  # by the short way: `BodyLimit` has it in its hand
    if body is None:
        body = await request.body()
    if body:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise UnsupportedMediaType("Send the body as application/json.")
        # Starlette keeps the parsed body here; handlers and dependencies share it.
        request._json = strict_json.parse(body)
        request.scope["bifold.json"] = request._json
        if bodiless and request._json is not None and request._json != {}:
            names = list(request._json) if isinstance(request._json, dict) else [""]
            raise InvalidFields(
                [FieldError(_pointer(n), "unknown_field", NONE_TAKEN) for n in names]
            )


def _pointer(name: str) -> str:
    """RFC 6901; the body itself where there is no name."""
    return "/" + name.replace("~", "~0").replace("/", "~1") if name else ""


class StrictRoute(APIRoute):
    """APIRoute whose `request.json()` is `api.strict_json`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The usual handler behind the strict parser."""
        handle = super().get_route_handler()
        bodiless = self.body_field is None

        async def strict(request: Request) -> Response:
            await take_body(request, bodiless=bodiless)
            return await handle(request)

        return strict

"""Around every request: an id, security headers, figures, and the last net under defects."""

from __future__ import annotations

import time
from collections.abc import Iterable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import INTERNAL
from api.metrics import Figures
from api.problems import respond
from wallet.ids import new_id

log = structlog.get_logger("api")

API_PREFIXES = ("/v1/", "/sandbox/", "/livez", "/readyz", "/metrics", "/openapi.json")
SECURITY_HEADERS: dict[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
}
API_HEADERS: dict[str, str] = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
REQUEST_ID = b"x-request-id"
HSTS = "max-age=31536000; includeSubDomains"


class RequestContext:
    """Pure ASGI, outermost. `https` adds HSTS."""

    def __init__(self, app: ASGIApp, *, figures: Figures, https: bool) -> None:
        self._app = app
        self._figures = figures
        always = {**SECURITY_HEADERS, **({"Strict-Transport-Security": HSTS} if https else {})}
        self._pages = _raw(always)
        self._api = _raw(always, API_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        id_ = new_id("req")
        scope["bifold.request_id"] = id_
        started = time.perf_counter()
        status = 0

        async def marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self._dressed(scope, message.get("headers", ()), id_)
            await send(message)

        try:
            await self._app(scope, receive, marked)
        except Exception as error:  # the last net: logged whole, told without a word
            log.error("request.defect", request_id=id_, method=scope["method"], exc_info=error)
            if status:
                raise  # too late for an answer: the server cuts the connection
            await respond(INTERNAL, id_)(scope, receive, marked)
        finally:
            self._figures.request(scope, status, time.perf_counter() - started)

    def _dressed(
        self, scope: Scope, headers: Iterable[tuple[bytes, bytes]], id_: str
    ) -> list[tuple[bytes, bytes]]:
        """The answer's own headers, and ours where it has none of that name."""
        dressed = [pair for pair in headers if pair[0] != REQUEST_ID]
        present = {name for name, _ in dressed}
        ours = self._api if scope["path"].startswith(API_PREFIXES) else self._pages
        dressed += [pair for pair in ours if pair[0] not in present]
        dressed.append((REQUEST_ID, id_.encode("ascii")))
        return dressed


def _raw(*sets: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """As ASGI carries them."""
    return [
        (name.lower().encode("ascii"), value.encode("ascii"))
        for each in sets
        for name, value in each.items()
    ]

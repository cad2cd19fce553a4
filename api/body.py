"""At most 64 kB of body, counted while it arrives; the refusal leaves before the rest is read."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import BodyTooLarge, RequestTimeout, problem_of
from api.problems import respond
from wallet.errors import WalletError

MAX_BODY_BYTES = 64 * 1024
BODY_TIMEOUT_SECONDS = 10
# After a refusal the rest is read and thrown away for a moment, so that a client that is still
# sending sees the answer instead of a reset connection.
LINGER_BYTES = 16 * 1024 * 1024
LINGER_SECONDS = 5
BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
ARRIVED = "bifold.arrived"  # in the scope where the server has the whole body already
BODY = "bifold.body"  # in the scope once it is known to be small


class BodyLimit:
    """Pure ASGI: hands the app a body that is whole, small and in memory."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] in BODILESS and not _announced(scope):
            await self._app(scope, receive, send)
            return
        try:
            body = await _whole_body(scope, receive)
        except WalletError as refusal:
            await _refuse(refusal, scope, receive, send)
            return
        if body is None:  # the client went away
            return
        scope[BODY] = body
        await self._app(scope, _Replayed(body, receive), send)


class _Replayed:
    """`receive` that gives the body once, then whatever the server says next."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._message: Message | None = {"type": "http.request", "body": body, "more_body": False}
        self._receive = receive

    async def __call__(self) -> Message:
        if self._message is not None:
            message, self._message = self._message, None
            return message
        return await self._receive()


def _announced(scope: Scope) -> bool:
    """Whether the head speaks of a body at all."""
    return any(
        (name == b"content-length" and value.strip() != b"0") or name == b"transfer-encoding"
        for name, value in scope["headers"]
    )


async def _whole_body(scope: Scope, receive: Receive) -> bytes | None:
    """The body; None when the client left. Raises BodyTooLarge, RequestTimeout."""
    for name, value in scope["headers"]:
        if name == b"content-length" and (not value.isdigit() or int(value[:20]) > MAX_BODY_BYTES):
            raise _too_large()
    if ARRIVED in scope:  # nothing to wait for: a timer costs as much as all the rest here
        return await _read(receive)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            return await _read(receive)
    except TimeoutError:
        raise RequestTimeout(f"The body took more than {BODY_TIMEOUT_SECONDS} s.") from None


async def _read(receive: Receive) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise _too_large()
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _too_large() -> BodyTooLarge:
    return BodyTooLarge(f"A body may have at most {MAX_BODY_BYTES} bytes.")


async def _refuse(refusal: WalletError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer at once, then let the client finish into nothing, then close."""
    response = respond(problem_of(refusal), scope.get("bifold.request_id", "req_unknown"))
    headers = [*response.raw_headers, (b"connection", b"close")]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": bytes(response.body), "more_body": True})
    thrown_away = 0
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while thrown_away < LINGER_BYTES:
                message = await receive()
                thrown_away += len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    break
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})

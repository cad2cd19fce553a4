"""An HTTP proxy between us and a node that misbehaves on command. Tests only; loopback only."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Literal, Self

import aiohttp
import orjson
from aiohttp import web

from chain.errors import AnswerTooLarge, NodeGarbage, NodeTimeout, NodeUnavailable
from chain.rpc import DEFAULT_MAX_BYTES, JsonRpc

ReplyFault = Literal["none", "drop_reply", "drop_request", "hang", "huge", "redirect"]
_CHUNK_BYTES = 1024 * 1024
_FLOOD_CHUNKS = 32  # twice what JsonRpc reads at most
_MAX_BODY = 64 * 1024 * 1024


class FaultProxy:
    """Forwards JSON-RPC to `upstream`; `fault` applies to requests holding one of `methods`.

    `drop_reply` hands the request to the node and closes the connection instead of answering;
    `drop_request` closes without the node seeing it; `hang` forwards and never answers; `huge`
    forwards and answers without end (32 MB, no length said); `redirect` answers 308 to the node
    itself, unforwarded. `seen` counts the requests of each method that arrived, `bodies` keeps the
    faulted ones.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self.fault: ReplyFault = "none"
        self.methods: set[str] = {"eth_sendRawTransaction"}
        self.seen: dict[str, int] = {}
        self.bodies: list[bytes] = []
        self.url = ""
        self._released = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._client = aiohttp.ClientSession(auto_decompress=False)
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_post("/", self._handle)
        self._runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._released.set()
        await self._runner.cleanup()
        await self._client.close()

    def rpc(self, *, timeout_seconds: float) -> JsonRpc:
        """A transport through it; its user's to close."""
        return JsonRpc(self.url, timeout_seconds=timeout_seconds)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        methods = _methods(body)
        for method in methods:
            self.seen[method] = self.seen.get(method, 0) + 1
        faulted = self.fault != "none" and bool(self.methods.intersection(methods))
        if faulted:
            self.bodies.append(body)
        if faulted and self.fault == "drop_request":
            return self._cut(request)
        if faulted and self.fault == "redirect":
            return web.Response(status=308, headers={"Location": self._upstream})
        async with self._client.post(
            self._upstream, data=body, headers={"Content-Type": "application/json"}
        ) as answer:
            text = await answer.read()
            status = answer.status
        if faulted and self.fault == "hang":
            await self._released.wait()
        if faulted and self.fault == "huge":
            return await self._flood(request)
        if faulted:
            return self._cut(request)
        return web.Response(body=text, status=status, content_type="application/json")

    @staticmethod
    async def _flood(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        with contextlib.suppress(ConnectionError):  # the client has hung up: what it should do
            for _ in range(_FLOOD_CHUNKS):
                await answer.write(b" " * _CHUNK_BYTES)
        return answer

    @staticmethod
    def _cut(request: web.Request) -> web.Response:
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=502)


class MemoryProxy:
    """The same in front of a node without HTTP: the client sees the same errors in the same words,
    and the node the same requests. Nothing waits: a `hang` is over at once."""

    def __init__(self, forward: Callable[[bytes], Awaitable[bytes]]) -> None:
        self._forward = forward
        self.fault: ReplyFault = "none"
        self.methods: set[str] = {"eth_sendRawTransaction"}
        self.seen: dict[str, int] = {}
        self.bodies: list[bytes] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def rpc(self, *, timeout_seconds: float) -> JsonRpc:
        """A transport through it."""
        return _ThroughProxy(self)

    async def exchange(self, body: bytes) -> bytes:
        """One request and its answer. Raises what JsonRpc makes of the fault."""
        methods = _methods(body)
        for method in methods:
            self.seen[method] = self.seen.get(method, 0) + 1
        if self.fault == "none" or not self.methods.intersection(methods):
            return await self._forward(body)
        self.bodies.append(body)
        if self.fault == "redirect":
            raise NodeGarbage("the node answered with a redirect (308); not followed")
        if self.fault != "drop_request":
            await self._forward(body)
        if self.fault == "hang":
            raise NodeTimeout("the node did not answer in time")
        if self.fault == "huge":
            raise AnswerTooLarge(DEFAULT_MAX_BYTES)
        raise NodeUnavailable("the node closed the connection before its answer")


class _ThroughProxy(JsonRpc):
    """JsonRpc whose exchange goes through a MemoryProxy."""

    def __init__(self, proxy: MemoryProxy) -> None:
        super().__init__("http://fake.invalid")
        self._proxy = proxy

    async def _exchange(self, body: bytes, most: int) -> bytes:
        return await self._proxy.exchange(body)


def _methods(body: bytes) -> list[str]:
    document = orjson.loads(body)
    calls = document if isinstance(document, list) else [document]
    return [str(call.get("method")) for call in calls]

"""`bifold serve`: uvicorn with uvloop and httptools, bounded heads, and an orderly end.

Run as `python -m api.server`; settings come from `BIFOLD_*`.
"""

from __future__ import annotations

import gc

if __name__ == "__main__":
    # What imports make stays: to look through it while it grows costs a fifth of the start.
    gc.disable()

import errno
import os
import socket
import sys
from asyncio import TimerHandle, Transport
from types import FrameType
from typing import Any, cast

import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.app import create_app
from api.binding import is_private
from api.body import ARRIVED, MAX_BODY_BYTES
from api.cork import Corked
from api.web.events import Hub
from chain.errors import ChainError
from keys.errors import KeysError
from wallet import log as logs
from wallet.bootstrap import RefusedToStart, build
from wallet.errors import WalletError
from wallet.processes import collect_seldom, leave_no_core
from wallet.settings import Settings

MAX_HEAD_BYTES = 32 * 1024
# What a body may have around it: chunks of one byte each and their sizes, and no endless trailer.
MAX_BESIDE_BYTES = 8 * MAX_BODY_BYTES
HEAD_TIMEOUT_SECONDS = 10.0  # a head that trickles in (slow loris) is cut
# A connection closed with unread bytes is reset, and the client never sees the refusal.
LINGER_SECONDS = 1.0
KEEP_ALIVE_SECONDS = 15
GRACEFUL_SECONDS = 7  # `./dev run` promises that all ends within 10 s
MAX_CONNECTIONS = 1_024
BACKLOG = 512

log = structlog.get_logger("api")


class CannotListen(Exception):
    """The address or the port cannot be had; the message is one plain line with the way out."""


class BoundedProtocol(HttpToolsProtocol):
    """httptools keeps a growing head in memory without limit; this one counts it, and its time.

    So does it with trailers, which uvicorn takes for headers: they are counted and thrown away.
    """

    _in_head = True
    _head_bytes = 0
    _beside_bytes = 0
    _timer: TimerHandle | None = None
    _refused = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(Transport, Corked(transport, self.loop)))
        self._begin_head()
        self._timer = self.loop.call_later(HEAD_TIMEOUT_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()  # the timer, whichever it is
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return  # thrown away: see LINGER_SECONDS
        if self._in_head:
            self._head_bytes += len(data)
            if self._timer is None:
                self._timer = self.loop.call_later(HEAD_TIMEOUT_SECONDS, self._give_up)
        else:
            self._beside_bytes += len(data)  # what of it is body comes off again
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES and not self._refused:
            self._refuse_head()
        elif self._beside_bytes > MAX_BESIDE_BYTES:
            self._refused = True
            self._give_up()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._beside_bytes -= len(body)
        super().on_body(body)

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        self._end_head()
        if size > MAX_HEAD_BYTES:
            self._refuse_head()
            raise ValueError("head too large")  # stops the parser; the answer is written already
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self.scope[ARRIVED] = True  # type: ignore[literal-required]
        super().on_message_complete()
        self._begin_head()

    def send_400_response(self, msg: str) -> None:
        if not self._refused and not self.transport.is_closing():
            super().send_400_response(msg)

    def _begin_head(self) -> None:
        self._in_head = True
        self._head_bytes = self._beside_bytes = 0

    def _end_head(self) -> None:
        self._in_head = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def _refuse_head(self) -> None:
        body = b'{"status":431,"code":"head_too_large","title":"The request head is too large"}'
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
            b"content-type: application/problem+json\r\nconnection: close\r\n"
            b"content-length: " + str(len(body)).encode() + b"\r\n\r\n" + body
        )
        self._refused = True
        self._end_head()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER_SECONDS, self._give_up)


def check_bind(settings: Settings) -> None:
    """A sandbox that others can reach needs a token. Raises RefusedToStart."""
    if settings.sandbox and not is_private(settings) and not settings.sandbox_token:
        raise RefusedToStart(
            "The sandbox gives money away: to be reached from beyond this machine"
            " (BIFOLD_HOST, BIFOLD_PUBLIC_URL), set BIFOLD_SANDBOX_TOKEN."
        )


class WebAwareServer(uvicorn.Server):
    """Ends the live streams of open pages first: they would hold the shutdown until its limit."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """On SIGINT and SIGTERM."""
        hub: Hub = self.config.app.state.web.hub  # type: ignore[union-attr]
        hub.close()
        super().handle_exit(sig, frame)


def run(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM; requests in flight get GRACEFUL_SECONDS to end."""
    check_bind(settings)
    listening = bound(settings.host, settings.port)  # nothing is connected or built in vain
    leave_no_core()
    logs.configure(settings.log_level)
    server = WebAwareServer(configuration(create_app(build(settings, role="api")), settings))
    collect_seldom()
    server.run(sockets=listening)


def configuration(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves the app."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        backlog=BACKLOG,
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
    )


def bound(host: str, port: int) -> list[socket.socket]:
    """Sockets at every address of `host`; nothing is accepted yet. Raises CannotListen.

    `localhost` is both loopback addresses where the machine has both: browsers may try either.
    """
    listening: list[socket.socket] = []
    for family, address in _addresses(host, port):
        listener = None
        try:
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
        except OSError as error:
            if listener is not None:
                listener.close()
            if listening and host == "localhost":
                continue
            for one in listening:
                one.close()
            raise CannotListen(_why(error, host, port)) from None
        listening.append(listener)
    return listening


def _addresses(host: str, port: int) -> list[tuple[int, Any]]:
    """Families and addresses to bind, none twice. Raises CannotListen."""
    if not 0 <= port < 65_536:
        raise CannotListen(f"BIFOLD_PORT={port} is no port; give a number from 1 to 65535.")
    if host == "localhost":
        return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port))]
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError):
        raise CannotListen(f"{host} is no address (BIFOLD_HOST).") from None
    return list(dict.fromkeys((int(family), address) for family, _, _, _, address in found))


def _why(error: OSError, host: str, port: int) -> str:
    place = f"port {port} of {host or 'all addresses'}"
    match error.errno:
        case errno.EADDRINUSE:
            return f"{place} is taken: set BIFOLD_PORT to another, or end what listens there."
        case errno.EACCES:
            return f"{place} is not ours to take: set BIFOLD_PORT to one from 1024 up."
        case errno.EADDRNOTAVAIL:
            return f"{host} is no address of this machine (BIFOLD_HOST)."
        case _:
            why = os.strerror(error.errno) if error.errno else str(error)
            return f"cannot listen at {place}: {why} (BIFOLD_HOST, BIFOLD_PORT)."


def main() -> int:
    """Exit code 1, and one line, when the configuration refuses or the port is taken."""
    try:
        run(Settings.from_env())
    except (WalletError, ChainError, KeysError, CannotListen) as refusal:
        sys.stderr.write(f"bifold serve: {refusal}\n")
        return 1
    except SystemExit:  # uvicorn's 3: it could not start, and has said why
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

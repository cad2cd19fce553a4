"""One write for a response: its head waits for the first piece of its body."""

from __future__ import annotations

from asyncio import AbstractEventLoop, Transport
from typing import Any

HEAD = b"HTTP/1.1 "


class Corked:
    """A transport as uvicorn uses it, which writes head and body apart.

    A head whose body does not follow in the same turn of the loop (a live stream) leaves by itself.
    """

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes) -> None:
        """At once, but for a head."""
        if self._held:
            data, self._held = self._held + data, b""
        elif data.startswith(HEAD):
            self._held = data
            self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def write_eof(self) -> None:
        """What is held first."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """What is held first."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

"""A response leaves in one write; a stream's head does not wait for its body."""

from __future__ import annotations

import asyncio
from typing import Any

from api.cork import Corked


class Wire:
    """Notes what a transport is told."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def write(self, data: bytes) -> None:
        self.said.append(data)

    def write_eof(self) -> None:
        self.said.append("eof")

    def close(self) -> None:
        self.said.append("close")

    def is_closing(self) -> bool:
        return "close" in self.said


def corked() -> tuple[Wire, Any]:
    wire = Wire()
    return wire, Corked(wire, asyncio.get_running_loop())  # type: ignore[arg-type]


async def test_head_and_body_are_one_write() -> None:
    wire, cork = corked()
    cork.write(b"HTTP/1.1 200 OK\r\n\r\n")
    assert wire.said == []
    cork.write(b"body")
    cork.write(b"more")
    await asyncio.sleep(0)
    assert wire.said == [b"HTTP/1.1 200 OK\r\n\r\nbody", b"more"]


async def test_a_head_alone_leaves_in_the_next_turn() -> None:
    wire, cork = corked()
    cork.write(b"HTTP/1.1 200 OK\r\n\r\n")
    await asyncio.sleep(0)
    cork.write(b"data: 1\n\n")
    assert wire.said == [b"HTTP/1.1 200 OK\r\n\r\n", b"data: 1\n\n"]


async def test_nothing_is_left_behind_at_the_end() -> None:
    wire, cork = corked()
    cork.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    cork.write_eof()
    cork.write(b"HTTP/1.1 200 OK\r\n\r\n")
    cork.close()
    assert wire.said == [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        "eof",
        b"HTTP/1.1 200 OK\r\n\r\n",
        "close",
    ]
    assert cork.is_closing()

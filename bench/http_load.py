"""A small HTTP/1.1 load generator: kept-alive connections, one request at a time on each."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """What one round gave."""

    count: int
    per_second: float
    p50_ms: float
    p99_ms: float
    generator_cpu: float  # share of one core that this process used


def request(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """The bytes of one POST."""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{head}\r\n"
    ).encode() + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of the next answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":", 1)[1])
    return int(head[9:12]), await reader.readexactly(length)


async def load(
    port: int, make: Callable[[int], bytes], *, connections: int, seconds: float
) -> Load:
    """Send `make(connection)` over and over. Raises RuntimeError at an answer that is no 201."""
    times: list[float] = []
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.monotonic()
    until = started + seconds

    async def stream(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < until:
            sent = time.perf_counter()
            writer.write(make(number))
            status, body = await answer(reader)
            times.append(time.perf_counter() - sent)
            if status != 201:
                raise RuntimeError(f"{status}: {body[:300].decode(errors='replace')}")
        writer.close()
        await writer.wait_closed()

    async with asyncio.TaskGroup() as group:
        for number in range(connections):
            group.create_task(stream(number))
    elapsed = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    times.sort()
    return Load(
        len(times),
        len(times) / elapsed,
        times[len(times) // 2] * 1000,
        times[min(len(times) - 1, len(times) * 99 // 100)] * 1000,
        cpu / elapsed,
    )

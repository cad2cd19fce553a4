"""Server-sent events: one LISTEN connection a process wakes the streams of the people concerned.

A stream says only that something changed (`type` and `ref`); the browser fetches the page's own
fragment again. `Last-Event-ID` replays what was missed. The listener runs while anybody listens
and a little longer, so that going from page to page does not open it anew.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing

import orjson

from wallet import identity
from wallet.bootstrap import Services
from wallet.errors import RateLimited
from wallet.identity import SignedIn
from wallet.listener import Published, Wake, events_after, last_seq, listen

PING_SECONDS = 15.0
STREAMS_PER_SESSION = 5
REPLAY_LIMIT = 100
RETRY_MILLISECONDS = 2_000
STREAM_SECONDS = 600.0  # then the browser comes back by itself, to whichever process


class Hub:
    """Streams of this process, by principal."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._waiting: dict[asyncio.Event, str] = {}
        self._by_session: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False

    def close(self) -> None:
        """End every stream, so that the server can end. Safe to call from a signal handler."""
        self._closing = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake, Wake(0, None))

    def admit(self, session: SignedIn) -> None:
        """Count one more stream, until `leave`. Raises RateLimited above five of one session."""
        if self._by_session[session.id] >= STREAMS_PER_SESSION:
            raise RateLimited("Too many live pages are open.", extra={"retry_after": 30})
        self._by_session[session.id] += 1

    def leave(self, session: SignedIn) -> None:
        """It has ended, or never began."""
        self._by_session[session.id] -= 1
        if not self._by_session[session.id]:
            del self._by_session[session.id]

    async def stream(self, session: SignedIn, last_event_id: str | None) -> AsyncIterator[bytes]:
        """The events of this principal as they are published. `admit` came before."""
        woken = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._waiting[woken] = session.principal_id
        try:
            yield b"retry: %d\n\n" % RETRY_MILLISECONDS
            async for chunk in self._follow(session, await self._begin(last_event_id), woken):
                yield chunk
        finally:
            del self._waiting[woken]

    async def _begin(self, last_event_id: str | None) -> int:
        async with self._services.db.transaction() as db:
            newest = await last_seq(db)
        if last_event_id and last_event_id.isascii() and last_event_id.isdigit():
            return min(int(last_event_id[:18]), newest)
        return newest

    async def _follow(
        self, session: SignedIn, seq: int, woken: asyncio.Event
    ) -> AsyncIterator[bytes]:
        ends = asyncio.get_running_loop().time() + STREAM_SECONDS
        while not self._closing and asyncio.get_running_loop().time() < ends:
            woken.clear()
            self._start()
            for event in await self._news(session, seq):
                seq = event.seq
                yield _message(event)
            try:
                await asyncio.wait_for(woken.wait(), PING_SECONDS)
            except TimeoutError:
                if not await self._still_open(session):
                    yield b"event: ended\ndata: {}\n\n"
                    return
                yield b": ping\n\n"

    async def _news(self, session: SignedIn, seq: int) -> list[Published]:
        async with self._services.db.transaction() as db:
            return await events_after(
                db, principal_id=session.principal_id, after_seq=seq, limit=REPLAY_LIMIT
            )

    async def _still_open(self, session: SignedIn) -> bool:
        """Whether the session lives, asked in a way that does not count as using it."""
        async with self._services.db.transaction() as db:
            living = await identity.live_sessions(db, principal_id=session.principal_id)
        return any(one.id == session.id for one in living)

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._listen(), name="web-events")

    def _wanted(self) -> bool:
        return bool(self._waiting) and not self._closing

    async def _listen(self) -> None:
        dsn = dsn_of(self._services)
        async with aclosing(listen(dsn, wanted=self._wanted)) as wakes:
            async for wake in wakes:
                self._wake(wake)

    def _wake(self, wake: Wake) -> None:
        for woken, principal_id in self._waiting.items():
            if wake.concerns(principal_id):
                woken.set()


def dsn_of(services: Services) -> str:
    """The database without a transaction pooler: LISTEN needs a session of its own."""
    return services.settings.direct_url.replace("postgresql+psycopg://", "postgresql://", 1)


def _message(event: Published) -> bytes:
    data = orjson.dumps({"type": event.type, "ref": event.ref})
    return b"id: %d\nevent: change\ndata: %s\n\n" % (event.seq, data)

"""Workers that run side by side and yet the same way each time: one at a time, and a seed says who.

A worker gives the baton back whenever it asks the node something, and waits until it is drawn
again. Nothing is locked in the database then: no flow calls a node inside a transaction.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar

_worker: ContextVar[int | None] = ContextVar("_worker", default=None)


class Baton:
    """Draws among those that wait, as soon as nobody runs."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._running = 0
        self._waiting: dict[int, asyncio.Future[None]] = {}

    async def run(self, works: Sequence[Callable[[], Awaitable[object]]]) -> None:
        """All of them to their ends; the first error is raised when all have ended."""
        self._running = len(works)
        ends = await asyncio.gather(
            *(self._work(number, work) for number, work in enumerate(works)),
            return_exceptions=True,
        )
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def turn(self) -> None:
        """Wait to be drawn; at once outside of `run`."""
        number = _worker.get()
        if number is None:
            return
        drawn = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._leave()
        await drawn

    async def _work(self, number: int, work: Callable[[], Awaitable[object]]) -> None:
        _worker.set(number)
        try:
            await self.turn()
            await work()
        finally:
            self._leave()

    def _leave(self) -> None:
        self._running -= 1
        if self._running == 0 and self._waiting:
            drawn = self._waiting.pop(self._dice.choice(sorted(self._waiting)))
            self._running = 1
            drawn.set_result(None)

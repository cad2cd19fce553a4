"""Catching up far behind the head: ranges of blocks, the next ones read while one is put down."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import Final

from chain.client import ChainClient
from chain.errors import ChainError
from chain.ranges import Range
from chain.window import Window

AHEAD = 3
"""Ranges on their way at once: the node has work while one's logs are asked for, and one is put
down. A node that refused lately is asked for one at a time."""
AHEAD_BYTES: Final = 64 * 1024 * 1024
"""What ranges that wait for their turn may take in memory together, about: twice a node's largest
answer of ordinary logs. A range above it counts as refused: the next ones are smaller, and read one
at a time."""


class Ahead:
    """What is read ahead of whoever puts it down."""

    def __init__(self, chain: ChainClient, window: Window) -> None:
        self._chain = chain
        self._window = window
        self._kept: dict[int, int] = {}
        self._last = self._turn = 0
        self._reading: deque[tuple[range, asyncio.Task[Range | None]]] = deque()

    def __len__(self) -> int:
        return len(self._reading)

    @property
    def room(self) -> bool:
        """Whether another range may be asked for now."""
        most = AHEAD if self._window.whole else 1
        return len(self) < min(most, 1 + AHEAD_BYTES // max(self._last, 1))  # one has its turn

    def ask(self, numbers: range) -> None:
        """Begin to read a range; its turn comes after those before it."""
        self._reading.append((numbers, asyncio.create_task(self._keep(numbers))))

    async def take(self) -> tuple[range, Range]:
        """The next range. Raises what the node raised."""
        numbers, task = self._reading[0]
        self._turn = numbers.start
        piece = await task
        self._reading.popleft()
        if piece is None:
            piece = await self._read(numbers)
        self._kept.pop(numbers.start, None)
        return numbers, piece

    async def aclose(self) -> None:
        """Leave nothing under way."""
        left = [task for _, task in self._reading]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _keep(self, numbers: range) -> Range | None:
        """None: too much to be kept until its turn, when it is read again."""
        piece = await self._read(numbers)
        kept = sum(self._kept.values()) + piece.weight_bytes
        if kept > AHEAD_BYTES and numbers.start != self._turn:
            return None
        self._kept[numbers.start] = piece.weight_bytes
        return piece

    async def _read(self, numbers: range) -> Range:
        size = max(self._window.size, len(numbers))  # as it was when they were chosen
        try:
            piece = await self._chain.block_range(numbers)
        except ChainError:
            self._window.shrink(size)
            raise
        self._last = piece.weight_bytes
        if self._last > AHEAD_BYTES:
            self._window.shrink(size)
        elif len(piece.blocks) == self._window.size:
            self._window.grow()
        return piece


async def ranges(
    chain: ChainClient, window: Window, *, first: int, last: int
) -> AsyncGenerator[Range, None]:
    """Blocks `first` to `last` in pieces as large as the node answers; never one left out.

    Ends early where the node has no block. Raises what the node raised; the window is then
    smaller, for the next pass from the same block. To be closed by whoever leaves it early.
    """
    ahead = Ahead(chain, window)
    after = first
    try:
        while ahead or after <= last:
            while after <= last and ahead.room:
                numbers = range(after, min(after + window.size, last + 1))
                ahead.ask(numbers)
                after = numbers.stop
            numbers, piece = await ahead.take()
            if piece.blocks:
                yield piece
            if len(piece.blocks) < len(numbers):
                return
    finally:
        await ahead.aclose()

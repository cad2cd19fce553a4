"""Catching up far behind the head: ranges of blocks, the next ones read while one is put down."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from chain.client import ChainClient
from chain.errors import ChainError
from chain.ranges import Range
from chain.window import Window

AHEAD = 3
"""Ranges on their way at once: the node has work while one's logs are asked for, and one is put
down. A node that refused lately is asked for one at a time."""


async def ranges(
    chain: ChainClient, window: Window, *, first: int, last: int
) -> AsyncGenerator[Range, None]:
    """Blocks `first` to `last` in pieces as large as the node answers; never one left out.

    Ends early where the node has no block. Raises what the node raised; the window is then
    smaller, for the next pass from the same block. To be closed by whoever leaves it early.
    """
    ahead: deque[tuple[range, asyncio.Task[Range]]] = deque()
    after = first
    try:
        while ahead or after <= last:
            while after <= last and len(ahead) < (AHEAD if window.whole else 1):
                numbers = range(after, min(after + window.size, last + 1))
                ahead.append((numbers, asyncio.create_task(_read(chain, window, numbers))))
                after = numbers.stop
            numbers, task = ahead.popleft()
            piece = await task
            if piece.blocks:
                yield piece
            if len(piece.blocks) < len(numbers):
                return
    finally:
        left = [task for _, task in ahead]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def _read(chain: ChainClient, window: Window, numbers: range) -> Range:
    size = window.size
    try:
        piece = await chain.block_range(numbers)
    except ChainError:
        window.shrink(size)
        raise
    if len(piece.blocks) == window.size:
        window.grow()
    return piece

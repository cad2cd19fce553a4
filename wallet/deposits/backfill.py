"""Catching up far behind the head: ranges of blocks, the next read while one is put down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from chain.client import ChainClient
from chain.errors import ChainError
from chain.ranges import Range
from wallet.deposits.window import Window


async def ranges(
    chain: ChainClient, window: Window, *, first: int, last: int
) -> AsyncGenerator[Range, None]:
    """Blocks `first` to `last` in pieces as large as the node answers; never one left out.

    Ends early where the node has no block. Raises what the node raised; the window is then
    smaller, for the next pass from the same block. To be closed by whoever leaves it early.
    """
    task: asyncio.Task[Range] | None = asyncio.create_task(_read(chain, window, first, last))
    try:
        while task is not None:
            piece, task = await task, None
            if not piece.blocks:
                return
            after = piece.blocks[-1].number + 1
            if after <= last:
                task = asyncio.create_task(_read(chain, window, after, last))
            yield piece
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _read(chain: ChainClient, window: Window, first: int, last: int) -> Range:
    size = window.size
    try:
        piece = await chain.block_range(range(first, min(first + size, last + 1)))
    except ChainError:
        window.shrink()
        raise
    if len(piece.blocks) == size:
        window.grow()
    return piece

"""Several requests to a node at once: it works at one while another's answer is read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

LANES = 4
Part = TypeVar("Part")
Result = TypeVar("Result")


async def in_lanes(
    parts: Sequence[Part], work: Callable[[Part], Awaitable[Result]], *, lanes: int = LANES
) -> list[Result]:
    """The work on each part, in order, at most `lanes` of it at once. For reads only.

    Raises the first error, after what was on its way beside it has ended.
    """
    if len(parts) < 2:
        return [await work(part) for part in parts]
    done: dict[int, Result] = {}
    left = iter(enumerate(parts))

    async def lane() -> None:
        for place, part in left:
            done[place] = await work(part)

    tasks = [asyncio.create_task(lane()) for _ in range(min(lanes, len(parts)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [done[place] for place in range(len(parts))]


def split(items: Sequence[Part], size: int) -> list[Sequence[Part]]:
    """Runs of at most `size`."""
    return [items[start : start + size] for start in range(0, len(items), size)]

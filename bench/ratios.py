"""Figures out of rounds that sides take in turn.

A rate is given as its middle, a ratio with its smallest and largest. On a machine that does other
things, too, the wall clock measures those; beside it stands the CPU time of all who had a part in
the work, of which neighbours take little.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any


def cpu_seconds(pid: int) -> float:
    """What a process's threads have used so far; what ended meanwhile does not count."""
    used = 0
    with suppress(FileNotFoundError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                used += int((thread / "schedstat").read_text().split()[0])
    return used / 1e9


class Rounds:
    """Seconds of every side, by the wall clock and of CPU (this process and `others`)."""

    def __init__(self, *others: int) -> None:
        self._pids = (os.getpid(), *others)
        self.wall: dict[str, list[float]] = {}
        self.cpu: dict[str, list[float]] = {}

    async def take(
        self, name: str, work: Callable[[], Awaitable[Any]], *, items: int, times: int = 1
    ) -> Any:
        """Do it `times` times, keep what one item took; the last result."""
        cpu, began = sum(map(cpu_seconds, self._pids)), time.perf_counter()
        for _ in range(times):
            result = await work()
        wall = time.perf_counter() - began
        used = sum(map(cpu_seconds, self._pids)) - cpu
        self.wall.setdefault(name, []).append(wall / items / times)
        self.cpu.setdefault(name, []).append(used / items / times)
        return result

    def per_second(self, unit: str) -> dict[str, Any]:
        """Items a second of every side."""
        return {
            f"{name} ({unit}/s)": round(1 / statistics.median(values))
            for name, values in self.wall.items()
        }

    def faster(self, ours: str, theirs: str) -> dict[str, Any]:
        """By how much `ours` is, on the clock and in CPU."""
        name = f"{ours} / {theirs}"
        return {
            **of(name, self.wall[theirs], self.wall[ours]),
            **of(f"{name}, by CPU", self.cpu[theirs], self.cpu[ours]),
        }


def middle(values: Sequence[float], unit: float = 1.0) -> int:
    """The median, in whole units."""
    return round(statistics.median(values) * unit)


def rounded(values: Sequence[float]) -> float:
    """The median, two digits behind the point."""
    return round(statistics.median(values), 2)


def of(name: str, upper: Sequence[float], lower: Sequence[float]) -> dict[str, Any]:
    """What each round gave, divided: the median, and smallest, middle and largest."""
    each = [a / b for a, b in zip(upper, lower, strict=True)]
    spread = [round(value, 2) for value in (min(each), statistics.median(each), max(each))]
    return {name: spread[1], f"{name}, min/median/max": spread}

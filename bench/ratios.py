"""Figures out of rounds: a rate is given as its middle, a ratio with its smallest and largest."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any


def middle(values: Sequence[float], unit: float = 1.0) -> int:
    """The median, in whole units."""
    return round(statistics.median(values) * unit)


def rounded(values: Sequence[float]) -> float:
    """The median, two digits behind the point."""
    return round(statistics.median(values), 2)


def of(name: str, ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """What each round gave, divided: the median, and smallest, middle and largest."""
    each = [a / b for a, b in zip(ours, theirs, strict=True)]
    spread = [round(value, 2) for value in (min(each), statistics.median(each), max(each))]
    return {name: spread[1], f"{name}, min/median/max": spread}

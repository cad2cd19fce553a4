"""Cases: what stands still or needs a person's eye, kept with what was known when it happened."""

from wallet.cases.kinds import KINDS, Kind
from wallet.cases.repository import (
    HOUSE,
    Case,
    NewCase,
    close_all,
    close_by_hand,
    get,
    listed,
    open_case,
    open_cases,
    open_counts,
)

__all__ = [
    "HOUSE",
    "KINDS",
    "Case",
    "Kind",
    "NewCase",
    "close_all",
    "close_by_hand",
    "get",
    "listed",
    "open_case",
    "open_cases",
    "open_counts",
]

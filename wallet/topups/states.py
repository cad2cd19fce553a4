"""The states of a top-up and the moves between them; the database refuses every other."""

from __future__ import annotations

from typing import Literal

Status = Literal["pending", "succeeded", "failed", "charged_back"]
Method = Literal["card", "bank_transfer"]
Waiting = Literal[
    "gateway_answer", "three_d_secure", "gateway_settlement", "bank_transfer", "review"
]

TRANSITIONS: dict[Status, frozenset[Status]] = {
    "pending": frozenset({"succeeded", "failed"}),
    # A gateway that took the money after all, after it or we had given up: it is credited.
    "failed": frozenset({"succeeded"}),
    "succeeded": frozenset({"charged_back"}),
    "charged_back": frozenset(),
}


def check_move(before: Status, after: Status) -> None:
    """Raises AssertionError for a move that is not in the table: a defect."""
    if after not in TRANSITIONS[before]:
        raise AssertionError(f"a top-up does not go from {before} to {after}")

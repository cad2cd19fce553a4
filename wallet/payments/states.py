"""The states of a payment and the only moves between them."""

from __future__ import annotations

from typing import Literal

from wallet.errors import InvalidState

Status = Literal[
    "created",
    "funded",
    "converted",
    "settling",
    "paying_out",
    "completed",
    "returned",
    "failed",
    "cancelled",
]

TRANSITIONS: dict[Status, frozenset[Status]] = {
    "created": frozenset({"funded"}),
    "funded": frozenset({"converted", "cancelled"}),
    "converted": frozenset({"settling", "cancelled"}),
    "settling": frozenset({"paying_out", "cancelled"}),
    # Submitted: from here only the bank's own word ends it.
    "paying_out": frozenset({"completed", "returned", "failed"}),
    "completed": frozenset(),
    "returned": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}
TERMINAL: frozenset[Status] = frozenset(s for s, nexts in TRANSITIONS.items() if not nexts)


def check_move(before: Status, after: Status) -> None:
    """Raises InvalidState, with the state it is in, for a move that is not in the table."""
    if after not in TRANSITIONS[before]:
        raise InvalidState(
            f"A payment that is {before} cannot become {after}.", extra={"state": before}
        )

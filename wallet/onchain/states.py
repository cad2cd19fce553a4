"""The life of an intent: which state may follow which. Everything else asks this table."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where one payment on chain stands."""

    QUEUED = "queued"  # promised; no nonce used
    ALLOCATED = "allocated"  # it has a nonce and its unsigned bytes are stored
    SIGNED = "signed"  # signed bytes are stored; none need have left
    SENT = "sent"  # they were handed to a node, which may have answered anything or nothing
    MINED = "mined"  # a receipt of one of its attempts is in the chain, not final
    FINAL_OK = "final_ok"  # paid, for good
    FINAL_REVERTED = "final_reverted"  # the chain refused it for good; gas is burnt
    CANCELLED = "cancelled"  # it will never pay: no nonce used, or a transfer of nothing took it
    FAILED = "failed"  # refused before a nonce was used
    IN_REVIEW = "in_review"  # what the chain shows is not ours to judge; a person decides


TRANSITIONS: dict[State, frozenset[State]] = {
    # To review: the chain has it already, by a batch whose row was lost (`regained`).
    State.QUEUED: frozenset({State.ALLOCATED, State.CANCELLED, State.FAILED, State.IN_REVIEW}),
    # Cancelled: two people agree that it was never signed, and its key is gone (`never_signed`).
    State.ALLOCATED: frozenset({State.SIGNED, State.IN_REVIEW, State.CANCELLED}),
    State.SIGNED: frozenset({State.SENT, State.MINED, State.IN_REVIEW}),
    State.SENT: frozenset({State.MINED, State.IN_REVIEW}),
    State.MINED: frozenset(
        {
            State.MINED,  # mined again, in another block
            State.SENT,  # its block is gone
            State.FINAL_OK,
            State.FINAL_REVERTED,
            State.CANCELLED,
            State.IN_REVIEW,
        }
    ),
    State.FINAL_OK: frozenset(),
    State.FINAL_REVERTED: frozenset(),
    State.CANCELLED: frozenset(),
    State.FAILED: frozenset(),
    # Only by proof of final blocks, and only when an operator asks: see review.
    State.IN_REVIEW: frozenset({State.FINAL_OK, State.FINAL_REVERTED, State.CANCELLED}),
}

UNMINED = (State.ALLOCATED, State.SIGNED, State.SENT)
IN_FLIGHT = (*UNMINED, State.MINED)
"""States that hold a nonce whose fate is open."""

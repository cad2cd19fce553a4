"""The life of a withdrawal: which status may follow which."""

from __future__ import annotations

from enum import StrEnum

from wallet.onchain.intents import CANCELLED, Intent
from wallet.onchain.states import State


class Status(StrEnum):
    """What the owner sees."""

    HELD = "held"
    SIGNED = "signed"
    BROADCAST = "broadcast"
    MINED = "mined"
    SETTLED = "settled"
    IN_REVIEW = "in_review"
    FAILED = "failed"
    CANCELLED = "cancelled"


TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.HELD: frozenset({Status.SIGNED, Status.FAILED, Status.CANCELLED, Status.IN_REVIEW}),
    # Back to held: the batch it was in came to nothing.
    Status.SIGNED: frozenset({Status.HELD, Status.BROADCAST, Status.MINED, Status.IN_REVIEW}),
    Status.BROADCAST: frozenset({Status.HELD, Status.MINED, Status.IN_REVIEW}),
    Status.MINED: frozenset(
        {
            Status.HELD,
            Status.MINED,
            Status.BROADCAST,
            Status.SETTLED,
            Status.FAILED,
            Status.CANCELLED,
            Status.IN_REVIEW,
        }
    ),
    Status.SETTLED: frozenset(),
    Status.IN_REVIEW: frozenset({Status.SETTLED, Status.FAILED}),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}

_STATUS_OF: dict[State, Status] = {
    State.SIGNED: Status.SIGNED,
    State.SENT: Status.BROADCAST,
    State.MINED: Status.MINED,
    State.FINAL_OK: Status.SETTLED,
    State.FINAL_REVERTED: Status.FAILED,
    State.CANCELLED: Status.CANCELLED,
    State.FAILED: Status.FAILED,
    State.IN_REVIEW: Status.IN_REVIEW,
}


def status_of(intent: Intent) -> Status | None:
    """What an intent's move means for its withdrawal. A queued or allocated one is still held.

    A nonce used for nothing is a cancel when its owner wanted that, and a failure when the signer
    refused the payment.
    """
    if intent.state is State.QUEUED:
        return Status.HELD
    if intent.state is State.CANCELLED and intent.reason != CANCELLED:
        return Status.FAILED
    return _STATUS_OF.get(intent.state)

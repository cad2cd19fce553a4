"""How long the supervisor waits before it starts a process again."""

from __future__ import annotations

from wallet.sandbox.children import (
    BACKOFF_FIRST_SECONDS,
    BACKOFF_LIMIT_SECONDS,
    CALM_AFTER_SECONDS,
    pause_after,
)


def test_after_a_calm_life_there_is_no_pause() -> None:
    assert pause_after(CALM_AFTER_SECONDS + 1, 0.0) == 0.0
    assert pause_after(CALM_AFTER_SECONDS + 1, BACKOFF_LIMIT_SECONDS) == 0.0


def test_what_keeps_dying_waits_twice_as_long_each_time_up_to_a_limit() -> None:
    pauses = [0.0]
    for _ in range(7):
        pauses.append(pause_after(0.1, pauses[-1]))
    assert pauses[1:5] == [BACKOFF_FIRST_SECONDS * 2**n for n in range(4)]
    assert pauses[-1] == BACKOFF_LIMIT_SECONDS

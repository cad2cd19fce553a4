"""How long the supervisor waits before it starts a process again, and what it says of the end."""

from __future__ import annotations

from pathlib import Path

from wallet.sandbox.children import (
    BACKOFF_FIRST_SECONDS,
    BACKOFF_LIMIT_SECONDS,
    CALM_AFTER_SECONDS,
    last_words,
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


def test_the_words_of_an_end_are_those_of_the_process_that_ended(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    assert last_words(log) == ""
    log.write_text("an earlier one: a case was opened\n")
    since = log.stat().st_size
    assert last_words(log, since) == ""
    with log.open("a") as file:
        file.write("port 8000 is taken\n")
    assert last_words(log, since) == "port 8000 is taken"
    log.write_text("after the log was begun anew\n")
    assert last_words(log, 10_000) == "after the log was begun anew"

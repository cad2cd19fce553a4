"""Long things as steps: what is done and when, what we wait for now, what is still to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Step:
    """One line. `state`: done, now, todo or bad; `words` are translated already."""

    state: str
    words: str
    at: datetime | None = None
    detail: str = ""


def along(
    path: Sequence[tuple[str, str]],
    *,
    times: dict[str, datetime],
    waiting: str = "",
    ending: Step | None = None,
) -> list[Step]:
    """The steps of `path` (status, words): reached ones done, the next one now, the others to come.

    `ending` closes the line early: what was not reached by then never will be.
    """
    reached = max((n for n, (status, _) in enumerate(path) if status in times), default=-1)
    if ending is not None:
        done = [Step("done", words, times[status]) for status, words in path if status in times]
        return [*done, ending]
    steps = [Step("done", words, times.get(status)) for status, words in path[: reached + 1]]
    rest = path[reached + 1 :]
    if rest:
        steps.append(Step("now", rest[0][1], None, waiting))
        steps += [Step("todo", words) for _, words in rest[1:]]
    return steps

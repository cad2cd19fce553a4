"""Named places where a process may die. A no-op, unless a crash test installs a callback.

Flows call `hit` right before and after every commit and every external call, so that the crash
campaign can stop a process at each of them and prove that a restart loses and doubles nothing.
"""

from __future__ import annotations

from collections.abc import Callable

_callback: Callable[[str], None] | None = None


def hit(name: str) -> None:
    """Pass the point `name`, for example `withdrawal.after_commit_signed`."""
    if _callback is not None:
        _callback(name)


def install(callback: Callable[[str], None] | None) -> None:
    """Tests only: call `callback` at every point from now on; None takes it away again."""
    global _callback
    _callback = callback

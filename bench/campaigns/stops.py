"""Times in which the machine stood still: a virtual one is stopped now and then, but not its clock.

A thread that sleeps a tenth of a second notes when it slept much longer. Campaigns that judge
seconds tell such times apart: nobody, and nothing under test, ran in them.
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field

TICK_SECONDS = 0.1
STOPPED_SECONDS = 2.0  # so late is no thread on a machine that is merely busy


@dataclass
class Stops:
    """Begin with `with`; `since` may be asked at any time from any thread."""

    seen: list[tuple[float, float]] = field(default_factory=list)  # when it went on, seconds lost
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Stops:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._over.wait(TICK_SECONDS):
            now = time.monotonic()
            if now - last > STOPPED_SECONDS:
                self.seen.append((now, now - last - TICK_SECONDS))
            last = now

    async def noted_since(self, began: float) -> float:
        """As `since`, once a stop that has just ended is noted too."""
        await asyncio.sleep(3 * TICK_SECONDS)
        return self.since(began)

    def since(self, began: float) -> float:
        """Seconds lost after `began`, a time of the monotonic clock."""
        return sum(min(lost, ended - began) for ended, lost in self.seen if ended > began)

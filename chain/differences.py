"""What the nodes of one network say differently about the same thing, and for how long they do.

One that is a block behind differs for a moment. What stands is for a person, who is told which node
says what; nothing here decides who is right.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

STANDS_SECONDS = 60.0
"""So long nobody is told: nodes catch up, and come back."""
LAPSE_SECONDS = 120.0
"""What was not seen to differ for so long does not any more; sweeps ask each 30 s."""
log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Seen:
    first: float
    last: float
    said: dict[str, str] = field(default_factory=dict)


class Differences:
    """Of one network, in memory."""

    def __init__(self, network: str, clock: Callable[[], float]) -> None:
        self._network = network
        self._clock = clock
        self._seen: dict[str, _Seen] = {}
        self._logged: dict[str, float] = {}

    def log(self, about: str, said: Mapping[str, str]) -> None:
        """Who says what, in one line a minute."""
        now = self._clock()
        self._logged = {one: at for one, at in self._logged.items() if now - at < STANDS_SECONDS}
        if about not in self._logged:
            self._logged[about] = now
            log.error("%s: nodes differ about %s: %s", self._network, about, in_words(said))

    def note(self, about: str, said: Mapping[str, str]) -> None:
        """They differ about it now, and something waits for that."""
        now = self._clock()
        self._forget(now)
        seen = self._seen.setdefault(about, _Seen(now, now))
        seen.last, seen.said = now, dict(said)
        self.log(about, said)

    def expect(self, abouts: Iterable[str]) -> None:
        """These stood before this process began: they end when nobody sees them for a while."""
        now = self._clock()
        for about in abouts:
            self._seen.setdefault(about, _Seen(now - STANDS_SECONDS, now))

    def standing(self) -> dict[str, dict[str, str]]:
        """What has differed for long, and who says what."""
        self._forget(self._clock())
        return {
            about: seen.said
            for about, seen in self._seen.items()
            if seen.last - seen.first >= STANDS_SECONDS
        }

    def _forget(self, now: float) -> None:
        for about in [one for one, seen in self._seen.items() if now - seen.last >= LAPSE_SECONDS]:
            del self._seen[about]


def in_words(said: Mapping[str, str]) -> str:
    """Who says what, for people."""
    return ", ".join(f"{name} says {what}" for name, what in said.items())

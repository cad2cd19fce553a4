"""Payments that took too long to be tried out together: halved, and tried in smaller parts later.

One slow member makes every batch slow that it is in; a slow node only long ones. In a pass one such
try is made, and then none for a while: meanwhile all of them go one by one. What is remembered is
in memory: a worker that takes over begins anew, which costs it a few tries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chain.registry import Token
from wallet import clock
from wallet.onchain.repository import Intent

REST_SECONDS = 10.0
"""After a try that took too long: so a third of a worker's time, and no more, may go into them."""


class Doubtful:
    """Groups of payments, by token, that are tried out apart from all others."""

    def __init__(self, rest_seconds: float = REST_SECONDS) -> None:
        self._rest_seconds = rest_seconds
        self._groups: dict[str, list[list[str]]] = {}
        self._rest_until = 0.0
        self._last: dict[str, float] = {}

    def resting(self) -> bool:
        """Whether nothing is tried out together now."""
        return clock.steady() < self._rest_until

    def in_turn(self, tokens: Iterable[Token]) -> list[Token]:
        """Those that took long last come last: one token's payments keep back no other's."""
        return sorted(tokens, key=lambda token: self._last.get(token.code, 0.0))

    def take(self, code: str, fit: Sequence[Intent]) -> tuple[list[Intent], list[Intent]]:
        """Of these the group whose turn it is (none: empty), and those that are in no group. What
        is not there any more is forgotten."""
        there = {one.id: one for one in fit}
        groups = [[one for one in group if one in there] for group in self._groups.get(code, ())]
        groups = [group for group in groups if group]
        first = groups.pop(0) if groups else []
        self._groups[code] = [*groups, first] if first else []
        inside = {one for group in self._groups[code] for one in group}
        return [there[one] for one in first], [one for one in fit if one.id not in inside]

    def went_well(self, code: str, group: Sequence[Intent]) -> None:
        """They are like all others again."""
        ids = {one.id for one in group}
        self._groups[code] = [kept for kept in self._groups.get(code, ()) if not ids & {*kept}]

    def took_long(self, code: str, group: Sequence[Intent]) -> None:
        """Two groups from now on; a single one is none, it goes alone."""
        self.went_well(code, group)
        middle = len(group) // 2
        halves = [group[:middle], group[middle:]] if middle else []
        self._groups[code] += [[one.id for one in half] for half in halves]
        self._last[code] = clock.steady()
        self._rest_until = clock.steady() + self._rest_seconds

"""What is dear is done for a person a few times at once, so that others have their turn too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from wallet.errors import Busy

SEARCHES_AT_ONCE = 2


class OnePerson:
    """How much of one kind is under way, by person; of this process."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._under_way: Counter[str] = Counter()

    @contextmanager
    def turn(self, principal_id: str) -> Iterator[None]:
        """One of theirs. Raises Busy where they have `most` already."""
        if self._under_way[principal_id] >= self._most:
            raise Busy("Too much of yours is under way; try again in a moment.")
        self._under_way[principal_id] += 1
        try:
            yield
        finally:
            self._under_way[principal_id] -= 1
            if not self._under_way[principal_id]:
                del self._under_way[principal_id]


searches = OnePerson(SEARCHES_AT_ONCE)
"""A search by words reads all that somebody ever did, and holds a connection meanwhile."""

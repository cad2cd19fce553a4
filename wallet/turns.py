"""What is dear is done for a person a few times at once, so that others have their turn too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from wallet.errors import Busy

PATIENCE_SECONDS = 5.0


class Turns:
    """How much of one kind is under way, by person; of this process.

    Take a turn with no connection and no lock in hand: what is above `most` waits.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._of: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, principal_id: str) -> AsyncIterator[None]:
        """One of theirs. Raises Busy after PATIENCE_SECONDS of waiting for it."""
        turns = self._of.get(principal_id)
        if turns is None:
            turns = self._of[principal_id] = asyncio.Semaphore(self._most)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await turns.acquire()
        except TimeoutError:
            raise Busy("Too much of yours is under way; try again in a moment.") from None
        try:
            yield
        finally:
            turns.release()

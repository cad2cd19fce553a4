"""How much one request may ask for: half as much when a node refuses, slowly back up."""

from __future__ import annotations


class Window:
    """A number of blocks, or what else is asked for, from 1 to `largest`; starts at `largest`.

    Providers cap ranges, answers and time, each at a limit of its own that they do not announce.
    """

    def __init__(self, largest: int) -> None:
        if largest < 1:
            raise ValueError("a window holds at least one")
        self._largest = largest
        self.size = largest

    @property
    def whole(self) -> bool:
        """Whether no node has refused lately."""
        return self.size == self._largest

    def shrink(self, asked: int) -> None:
        """The node refused what was asked while the window had this size: half, but never below
        one. Several refusals of one size halve it once."""
        if self.size >= asked:
            self.size = max(1, self.size // 2)

    def grow(self) -> None:
        """The node answered: one more the next time."""
        self.size = min(self._largest, self.size + 1)

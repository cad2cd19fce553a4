"""One line of a reconciliation: an account of ours beside what the outside says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReconcileLine:
    """Minor units of `asset`, positive where the house owns them.

    `in_flight_minor` is the part of `outside_minor - ledger_minor` that unended work explains; what
    is left is `difference`. `problem` marks a line that is off although its sums agree.
    """

    account: str
    asset: str
    ledger_minor: int
    outside_minor: int
    in_flight_minor: int = 0
    note: str = ""
    problem: bool = False

    @property
    def difference(self) -> int:
        """Unexplained minor units; zero in healthy books."""
        return self.outside_minor - self.ledger_minor - self.in_flight_minor

    @property
    def balanced(self) -> bool:
        """Whether nobody needs to look."""
        return self.difference == 0 and not self.problem

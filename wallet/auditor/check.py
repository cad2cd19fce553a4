"""What a check is and what it finds. Amounts are text of whole minor units: nothing is rounded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

_WHOLE = re.compile("-?[0-9]{1,200}")
FINDINGS_OF_ONE_CHECK = 1_000
"""More rows than this of one check say nothing that these do not; the report says so."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which postings are read: those with an id above `after`; -1 reads all.

    `base` is the run whose checkpoint says what lies at and below `after`; -1 stands for nothing.
    `sealed` is a link of the seal that run has surely read; -1 reads the seal whole.
    """

    base: int = -1
    after: int = -1
    sealed: int = -1

    @property
    def whole(self) -> bool:
        """Whether everything is read."""
        return self.after < 0


@dataclass(frozen=True, slots=True)
class Check:
    """One question to the database. `sql` answers rows (subject, network, asset, expected, found);
    none is good. It may name `{after}`, `{base}` and `{sealed}`, whole numbers of the
    scope. It is empty where the question is part of a `Pass`.

    `code` is stable: people and alarms know a break by it. `pauses`: whether it is about money, so
    that withdrawals of the asset wait until a person has looked.
    """

    code: str
    means: str
    sql: str = ""
    pauses: bool = True


@dataclass(frozen=True, slots=True)
class Pass:
    """Several checks that read the same rows: one statement answers them all, each row with the
    code of its check in front. `sql` stands for a table: it may begin with WITH."""

    checks: tuple[Check, ...]
    sql: str


def flat(questions: Sequence[Check | Pass]) -> tuple[Check, ...]:
    """The single checks of a room."""
    return tuple(
        check
        for question in questions
        for check in (question.checks if isinstance(question, Pass) else (question,))
    )


@dataclass(frozen=True, slots=True)
class Finding:
    """One break. `subject` is the id of the row, `expected` and `found` what should and does stand
    there. `asset` None: it touches every asset."""

    code: str
    means: str
    subject: str
    network: str | None
    asset: str | None
    expected: str
    found: str
    pauses: bool

    @property
    def fingerprint(self) -> str:
        """The same for the same break in the next run: what was accepted once is known by it."""
        values: tuple[object, ...] = (self.expected, self.found)
        if _WHOLE.fullmatch(self.expected) and _WHOLE.fullmatch(self.found):
            values = (int(self.found) - int(self.expected),)  # an account goes on moving
        parts = (self.code, self.subject, self.network, self.asset, *values)
        return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()[:32]


def found_by(check: Check, rows: Sequence[Sequence[object]]) -> list[Finding]:
    """Rows of a check as findings."""
    return [
        Finding(
            check.code,
            check.means,
            _text(subject),
            None if network is None else str(network),
            None if asset is None else str(asset),
            _text(expected),
            _text(found),
            check.pauses,
        )
        for subject, network, asset, expected, found in rows
    ]


def _text(value: object) -> str:
    return "nothing" if value is None else str(value)

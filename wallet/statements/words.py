"""What a statement on paper says, apart from how it is drawn (`wallet.statements.paper`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from wallet.statements.builder import Statement

# Half a millisecond of CPU a line; a longer period is a sheet, or several statements.
MAX_PAPER_LINES = 2_000


@dataclass(frozen=True, slots=True)
class Words:
    """Everything a statement says, in one language. `kinds`: entry kind → words.

    `period`, `page` and `made` carry `%(name)s` places: from, to; page, pages; time.
    """

    tag: str
    title: str
    holder: str
    asset: str
    period_label: str
    period: str
    opening: str
    money_in: str
    money_out: str
    closing: str
    number: str
    booked: str
    what: str
    amount: str
    balance: str
    nothing: str
    page: str
    made: str
    proof: str
    note: str
    kinds: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose account it is, as printed."""

    name: str
    handle: str


def as_pdf(statement: Statement, *, holder: Holder, words: Words, made_at: datetime) -> bytes:
    """`paper.as_pdf`. Its libraries cost half a second at the first paper, not at each start."""
    from wallet.statements import paper

    return paper.as_pdf(statement, holder=holder, words=words, made_at=made_at)

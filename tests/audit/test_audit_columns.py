"""An altered value is named, whichever it is, or is in the list of what nothing tells."""

from __future__ import annotations

import random
from pathlib import Path

from bench.campaigns.audit_columns import Figures, columns, plan, sweep
from bench.campaigns.audit_unseen import UNSEEN, documented
from tests.audit.conftest import Broken

SAMPLE = 120
DOCS = Path(__file__).resolve().parents[2] / "docs" / "audit.md"


def test_what_is_altered_is_named_or_listed(broken: Broken) -> None:
    """Some of all, others with each seed; `./dev campaign audit` alters all."""
    seed = random.getrandbits(31)  # pytest-randomly's, told at the top of its output
    figures = sweep(broken.connection, broken.instance, seed=seed, sample=SAMPLE)
    assert figures.wrong == [] and figures.altered > 0


def test_no_table_is_without_a_row(broken: Broken) -> None:
    """Nothing is altered in an empty one: the house here does everything that fills one. All of it
    is sealed, so nothing waits for that, and its books never broke, so nothing is paused."""
    figures = Figures()
    list(plan(broken.connection, figures))
    whole = {name[:-2] for one in UNSEEN for name in one.columns.split() if name.endswith(".*")}
    assert set(figures.empty) <= whole | {
        "unsealed",
        "unsealed_log",
        "audit_pauses",
        "audit_accepted",
    }


def test_what_is_listed_is_there(broken: Broken) -> None:
    there = {str(one) for one in columns(broken.connection)}
    there |= {f"{one.table}.*" for one in columns(broken.connection)}
    assert {name for one in UNSEEN for name in one.columns.split()} <= there


def test_the_documentation_lists_the_same() -> None:
    told = DOCS.read_text("utf-8").splitlines()
    first = told.index("| what nothing tells | why |") + 2
    assert told[first : first + len(documented())] == documented()

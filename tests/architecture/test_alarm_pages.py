"""The guides tell what the code says: kinds of cases, figures, warnings of the rooms of money."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from api.metrics import Figures
from wallet.cases import KINDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = "\n".join(page.read_text("utf-8") for page in sorted((ROOT / "docs").rglob("*.md")))
SPANS = frozenset(re.findall(r"`([^`\n]+)`", PAGES))
ROOMS = (
    "wallet/onchain", "wallet/deposits", "wallet/sweeps", "wallet/treasury", "wallet/selfcustody",
    "keys", "chain",
)  # fmt: skip
ALARMS = ("alarm", "figure", "what the log says of an evacuation")  # heads of the guides' tables
EVENT = re.compile(r"[a-z_]+\.[a-z_]+")
FIGURE = re.compile(r"bifold_[a-z_]+")
SAYS = re.compile(r"\.(?:warning|error|critical|exception)\(")
HOLE = re.compile(r"%[\d.]*[a-z]")  # where the value of a line of `logging` goes
ROLES = frozenset(
    f"bifold_{name}" for name in ("app", "audit", "operator", "owner", "session")
)  # of the database and of the browser: no figures


def figures() -> set[str]:
    """The names under which `/metrics` tells what api/metrics.py counts."""
    return {
        f"{metric.name}_total" if metric.type == "counter" else metric.name
        for metric in Figures().registry.collect()
    }


def warnings() -> Iterator[tuple[str, str]]:
    """(file:line, words) of each warning and error that a room of money logs."""
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            source = file.read_text("utf-8")
            if not SAYS.search(source):
                continue
            for call in ast.walk(ast.parse(source)):
                if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
                    continue
                if call.func.attr not in {"warning", "error", "critical", "exception"}:
                    continue
                words = [one for one in ast.walk(call.args[0]) if isinstance(one, ast.Constant)]
                for one in words:
                    if isinstance(one.value, str):
                        yield f"{file.relative_to(ROOT)}:{call.lineno}", one.value


def is_told(words: str) -> bool:
    """Whether a page has these words as code: any value in a hole, `…` for what is left out."""
    words = words.removeprefix("%s: ")
    if words in SPANS or not re.search(r"[a-z]{3}", HOLE.sub("", words)):
        return True  # a line without words of its own has those of an error
    plain = HOLE.sub("N", words)
    line = re.compile(r"(?:[A-Z]+: )?" + ".+?".join(map(re.escape, HOLE.split(words))))
    return any(
        line.fullmatch(span) or (span.endswith(" …") and plain.startswith(span.removesuffix("…")))
        for span in SPANS
    )


def alarms() -> Iterator[str]:
    """The first cells of the guides' tables of alarms."""
    for table in re.findall(r"(?:^\|.*\n)+", PAGES, re.MULTILINE):
        head, _, *rows = table.splitlines()
        if head.split("|")[1].strip() in ALARMS:
            yield from (row.split("|")[1] for row in rows)


def test_every_kind_of_case_has_its_row() -> None:
    table = re.search(r"^\| kind \| opened when .*\n(?:\|.*\n)+", PAGES, re.MULTILINE)
    assert table is not None
    rows = [row.split("|")[1] for row in table.group().splitlines()[2:]]
    told = [kind for row in rows for kind in re.findall(r"`([a-z_]+)`", row)]
    assert sorted(told) == sorted(KINDS)


def test_every_case_that_a_page_speaks_of_is_a_kind() -> None:
    assert set(re.findall(r"\bcases? `([a-z_]+)`", PAGES)) - set(KINDS) == set()


def test_every_figure_is_told_and_every_figure_told_is_there() -> None:
    told = {name for span in SPANS for name in FIGURE.findall(span)}
    assert figures() - told == set()
    assert told - figures() - ROLES == set()


def test_every_warning_of_the_rooms_of_money_is_told() -> None:
    said = list(warnings())
    assert len(said) > 80
    assert [(place, words) for place, words in said if not is_told(words)] == []


def test_every_event_that_a_table_of_alarms_names_is_in_the_code() -> None:
    code = "\n".join(
        file.read_text("utf-8")
        for room in ("api", "chain", "keys", "wallet")
        for file in (ROOT / room).rglob("*.py")
    )
    named = {
        span
        for cell in alarms()
        for span in re.findall(r"`([^`]+)`", cell)
        if EVENT.fullmatch(span)
    }
    assert len(named) > 50
    assert {event for event in named if f'"{event}"' not in code} == set()

"""A statement on paper: PDF, A4, every line with its running balance, in the reader's language.

The fonts lie in `fonts` (made by deploy/fonts.py) and are embedded as far as they are used. A
character that neither holds is printed as a box, never left out.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TypeAlias

from fontTools.ttLib import TTFont
from fpdf import FPDF
from fpdf.enums import Align

from wallet.money import Money, format_amount
from wallet.statements.builder import Statement, StatementDefect, StatementLine
from wallet.statements.words import Holder, Words

BOX = "\u25a1"
MARGIN, WIDTH = 14.0, 182.0  # millimetres of A4
COLUMNS = (12.0, 34.0, 62.0, 37.0, 37.0)
ROW, FOOT = 8.4, 22.0
INK, SOFT, RULE = (25, 28, 33), (98, 104, 112), (208, 212, 217)
GAP = 1.0
MM_OF_POINT, CAP_HEIGHT = 0.3528, 0.714  # how tall capitals are, so that lines stand in the middle
WORDS = re.compile(r"[\u2e80-\uffff]|[^\s\u2e80-\uffff]+\s*|\s+")
Runs: TypeAlias = list[tuple[str, str]]
_FILES = {"sans": "sans-regular.woff", "sansB": "sans-bold.woff", "han": "han-regular.woff"}


def as_pdf(statement: Statement, *, holder: Holder, words: Words, made_at: datetime) -> bytes:
    """The pages. Raises StatementDefect unless opening + lines = closing in what is printed.

    CPU only; call it in a thread. More than MAX_PAPER_LINES lines are the caller's to refuse.
    """
    money_in = sum(line.money.minor for line in statement.lines if line.money.minor > 0)
    money_out = sum(line.money.minor for line in statement.lines if line.money.minor < 0)
    if statement.opening.minor + money_in + money_out != statement.closing.minor:
        raise StatementDefect("opening and lines do not make the closing balance")
    paper = _Paper(statement, holder, words, made_at)
    paper.head(money_in, money_out)
    paper.lines()
    paper.number_pages()
    return bytes(paper.output())


class _Paper(FPDF):
    """One document. fpdf2 calls `header` and `footer` at each page's edges."""

    def __init__(
        self, statement: Statement, holder: Holder, words: Words, made_at: datetime
    ) -> None:
        super().__init__(format="A4", unit="mm")
        self.statement, self.holder, self.words, self.made_at = statement, holder, words, made_at
        self._in_table = False
        for style, name in (("", "sans"), ("B", "sansB")):
            self.add_font("sans", style, str(_path(name)))
        if self._needs_han():  # it is large, and costs 0.2 s
            self.add_font("han", "", str(_path("han")))
        self.set_margins(MARGIN, MARGIN)
        self.set_auto_page_break(False)
        self.set_title(f"{words.title} {statement.asset.code}")
        self.set_author("Bifold")
        self.set_lang(words.tag)
        self.set_creation_date(made_at)
        self.add_page()

    def header(self) -> None:
        """Whose paper it is; a page of the table repeats the columns' names."""
        self.set_text_color(*SOFT)
        self._say(8.5, "Bifold", style="B", down=True)
        self.set_y(self.get_y() + 4)
        self.set_text_color(*INK)
        if self._in_table:
            self._columns()

    def footer(self) -> None:
        """What the figures are worth, on each page."""
        self.set_y(-FOOT + 4)
        self.set_draw_color(*RULE)
        self.line(MARGIN, self.get_y() - 2, MARGIN + WIDTH, self.get_y() - 2)
        self.set_text_color(*SOFT)
        self._paragraph(7.5, self.words.note, height=3.6)
        self.set_text_color(*INK)

    def head(self, money_in: int, money_out: int) -> None:
        """Title, whose, which period, and the four figures that belong together."""
        words, statement = self.words, self.statement
        self._say(20, words.title, style="B", height=10, down=True)
        self.set_y(self.get_y() + 3)
        since, until = _moment(statement.since), _moment(statement.until)
        asset = statement.asset
        for label, value in (
            (words.holder, f"{self.holder.name}  @{self.holder.handle}"),
            (words.asset, f"{asset.code} · {asset.name}"),
            (words.period_label, words.period % {"from": since, "to": until}),
        ):
            self._fact(label, value)
        self.set_y(self.get_y() + 3)
        for label, minor, style in (
            (words.opening, statement.opening.minor, ""),
            (words.money_in, money_in, ""),
            (words.money_out, money_out, ""),
            (words.closing, statement.closing.minor, "B"),
        ):
            self._say(10, label, style=style, wide=WIDTH - 70, height=6.4)
            figure = f"{_figure(Money(minor, asset))} {asset.code}"
            self._say(10, figure, style=style, wide=70, height=6.4, align=Align.R, down=True)
        self.set_text_color(*SOFT)
        self.set_y(self.get_y() + 2)
        proof = f"{words.proof} {words.made % {'time': _moment(self.made_at)}}"
        self._paragraph(8, proof, height=4)
        self.set_text_color(*INK)
        self.set_y(self.get_y() + 5)

    def lines(self) -> None:
        """Opening, every line, closing."""
        words, statement = self.words, self.statement
        self._in_table = True
        self._columns()
        self._edge(statement.since, words.opening, statement.opening)
        for line in statement.lines:
            self._line(line)
        if not statement.lines:
            self._row(("", "", words.nothing, "", ""))
        self._edge(statement.until, words.closing, statement.closing)

    def number_pages(self) -> None:
        """Written last, when it is known how many there are."""
        pages = self.page_no()
        self.set_text_color(*SOFT)
        for page in range(1, pages + 1):
            self.page = page
            self.current_font_is_set_on_page = False
            self.set_xy(MARGIN + WIDTH / 2, MARGIN)
            self._say(8.5, self.words.page % {"page": page, "pages": pages}, align=Align.R)
        self.set_text_color(*INK)

    def _columns(self) -> None:
        words = self.words
        self.set_text_color(*SOFT)
        names = (words.number, words.booked, words.what, words.amount, words.balance)
        self._row(names, height=6, style="B")
        self.set_text_color(*INK)

    def _line(self, line: StatementLine) -> None:
        said = self.words.kinds.get(line.kind, line.kind)
        what = (said, line.reference)
        figures = (_figure(line.money, plus=True), _figure(line.balance))
        self._row((str(line.seq), _moment(line.booked_at), what, *figures))

    def _edge(self, moment: datetime, words: str, balance: Money) -> None:
        self._row(("", _moment(moment), words, "", _figure(balance)), style="B")

    def _row(
        self, cells: tuple[str | tuple[str, str], ...], *, height: float = ROW, style: str = ""
    ) -> None:
        """One row whole: a page that has no room for it is ended first."""
        if self.get_y() + height > self.h - FOOT:
            self.add_page()
        top, left = self.get_y(), MARGIN
        for place, (cell, wide) in enumerate(zip(cells, COLUMNS, strict=True)):
            align = Align.R if place >= 3 else Align.L
            self.set_xy(left, top)
            if isinstance(cell, tuple):
                self._say(8.5, cell[0], wide=wide, height=height * 0.56, style=style)
                self.set_xy(left, top + height * 0.5)
                self.set_text_color(*SOFT)
                self._say(6.8, cell[1], wide=wide, height=height * 0.42)
                self.set_text_color(*INK)
            elif cell:
                self._say(8.5, cell, wide=wide, height=height, align=align, style=style)
            left += wide
        self.set_draw_color(*RULE)
        self.line(MARGIN, top + height, MARGIN + WIDTH, top + height)
        self.set_xy(MARGIN, top + height)

    def _fact(self, label: str, value: str) -> None:
        self.set_text_color(*SOFT)
        self._say(9.5, label, wide=34, height=5.6)
        self.set_text_color(*INK)
        self._say(9.5, value, wide=WIDTH - 34, height=5.6, down=True)

    def _say(
        self, size: float, text: str, *, style: str = "", wide: float = WIDTH / 2,
        height: float = 5, align: Align = Align.L, down: bool = False,
    ) -> None:  # fmt: skip
        """One line of text, made smaller where it would not fit: no figure is ever cut.

        Leaves the pen to the right of its room, or with `down` at the start of the next line.
        """
        left, top = self.get_x(), self.get_y()
        runs = _runs(text)
        widths = self._widths(runs, size, style)
        room = wide - 2 * GAP
        if sum(widths) > room:
            size *= room / sum(widths)
            widths = self._widths(runs, size, style)
        pen = left + GAP if align == Align.L else left + wide - GAP - sum(widths)
        baseline = top + height / 2 + size * MM_OF_POINT * CAP_HEIGHT / 2
        for (family, run), taken in zip(runs, widths, strict=True):
            self._font(family, size, style)
            self.text(pen, baseline, run)
            pen += taken
        self.set_xy(*((MARGIN, top + height) if down else (left + wide, top)))

    def _widths(self, runs: Runs, size: float, style: str) -> list[float]:
        widths = []
        for family, run in runs:
            self._font(family, size, style)
            widths.append(self.get_string_width(run))
        return widths

    def _paragraph(self, size: float, text: str, *, height: float) -> None:
        """Text over several lines, broken at spaces, or between any two Chinese characters."""
        line = ""
        for word in WORDS.findall(text):
            longer = line + word
            if line and sum(self._widths(_runs(longer.rstrip()), size, "")) > WIDTH - 2 * GAP:
                self._say(size, line.rstrip(), wide=WIDTH, height=height, down=True)
                longer = word
            line = longer
        self._say(size, line, wide=WIDTH, height=height, down=True)

    def _font(self, family: str, size: float, style: str = "") -> None:
        self.set_font(family, style if family == "sans" else "", size)

    def _needs_han(self) -> bool:
        words, here = self.words, _characters("sans")
        said = [self.holder.name, self.holder.handle, self.statement.asset.name]
        said += [getattr(words, name) for name in Words.__slots__ if name != "kinds"]
        said += [words.kinds.get(line.kind, line.kind) for line in self.statement.lines]
        said += [line.reference for line in self.statement.lines]
        return any(ord(one) not in here for text in said for one in text)


def _figure(money: Money, *, plus: bool = False) -> str:
    """`-1,250.00`: every digit there is, grouped, with a true minus."""
    whole, point, fraction = format_amount(abs(money.minor), money.asset.scale).partition(".")
    sign = "\u2212" if money.minor < 0 else "+" if plus else ""
    return f"{sign}{int(whole):,}{point}{fraction}"


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _runs(text: str) -> Runs:
    """The text in pieces of one font each; what neither can print becomes a box."""
    sans, han = _characters("sans"), _characters("han")
    runs: Runs = []
    for one in text:
        family = "sans" if ord(one) in sans else "han"
        shown = one if family == "sans" or ord(one) in han else BOX
        if runs and runs[-1][0] == family:
            runs[-1] = (family, runs[-1][1] + shown)
        else:
            runs.append((family, shown))
    return runs


def _path(name: str) -> Path:
    return Path(str(resources.files("wallet.statements").joinpath("fonts", _FILES[name])))


@cache
def _characters(name: str) -> frozenset[int]:
    """What a font can print."""
    with TTFont(_path(name), lazy=True) as font:
        return frozenset(font.getBestCmap() or {})

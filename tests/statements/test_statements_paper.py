"""A statement on paper: what is printed, that it adds up, and that nothing is cut or left out."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path

import pytest
from fontTools.ttLib import TTFont
from pypdf import PdfReader

from api.web.i18n import load_languages
from api.web.statement_words import paper_words
from wallet.money import Asset, Money
from wallet.statements import Holder, Statement, StatementDefect, StatementLine, Words, as_pdf

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
EUR = Asset("EUR", "fiat", 2, "Euro", 10**12)
ETH = Asset("ETH", "native", 18, "Ether", 10**30)
FONTS = Path(str(resources.files("wallet.statements"))) / "fonts"
REFERENCE = "trf_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"


def statement(
    asset: Asset, amounts: list[int], *, opening: int = 0, off: int = 0, kind: str = "transfer"
) -> Statement:
    lines, balance = [], opening
    for seq, minor in enumerate(amounts, 1):
        balance += minor
        at = BEGAN + timedelta(minutes=seq)
        lines.append(
            StatementLine(
                seq, f"ent_{seq}", kind, REFERENCE, Money(minor, asset), Money(balance, asset),
                at, at,
            )
        )  # fmt: skip
    end = BEGAN + timedelta(days=31)
    return Statement(
        asset, BEGAN, end, Money(opening, asset), Money(balance + off, asset), tuple(lines)
    )


def printed(
    made: Statement, *, name: str = "Ada Lovelace", tag: str = "en", sandbox: bool = True
) -> bytes:
    words = paper_words(load_languages()[tag], sandbox=sandbox)
    return as_pdf(made, holder=Holder(name, "ada_1815"), words=words, made_at=BEGAN)


def said(pdf: bytes) -> list[str]:
    """The text of every page. pypdf adds the high byte of each Chinese character's code as NUL."""
    return [page.extract_text().replace("\0", "") for page in PdfReader(io.BytesIO(pdf)).pages]


def test_every_line_stands_there_with_its_balance() -> None:
    amounts = [125_000, -4_999, 1, -100_000] * 20
    made = statement(EUR, amounts, opening=700_000)
    pages = said(printed(made))
    whole = "\n".join(pages)
    for line in made.lines:
        assert f"{line.balance.minor // 100:,}.{line.balance.minor % 100:02}" in whole
    assert whole.count("\u22121,000.00") == 20
    assert whole.count("+1,250.00") == 20
    assert whole.count(REFERENCE) == len(amounts)
    assert "7,000.00 EUR" in pages[0]
    assert "11,000.40 EUR" in pages[0]  # closing
    assert "25,000.20 EUR" in pages[0]  # in
    assert "\u221220,999.80 EUR" in pages[0]  # out
    assert len(pages) > 2
    for number, page in enumerate(pages, 1):
        assert f"Page {number} of {len(pages)}" in page
        assert "no legal document" in " ".join(page.split())
        assert "Balance" in page
    assert "2026-03-01 00:00:00 up to, not including, 2026-04-01 00:00:00" in pages[0]


def test_what_does_not_add_up_is_not_printed() -> None:
    with pytest.raises(StatementDefect, match="closing"):
        printed(statement(EUR, [100, -30], off=1))


def test_a_production_says_nothing_of_play_money() -> None:
    (page,) = said(printed(statement(EUR, [1]), sandbox=False))
    assert "Simulated" not in page
    assert "without a signature" in page


def test_chinese_is_printed_in_chinese() -> None:
    (page,) = said(printed(statement(EUR, [1]), name="欧阳靖", tag="zh-Hans"))
    for words in (
        "账户对账单",
        "欧阳靖",
        "期初余额",
        "期末余额",
        "转账",
        "第 1 页，共 1 页",
        "模拟",
    ):
        assert words in page
    assert "□" not in page


def test_a_name_no_font_holds_keeps_its_length() -> None:
    (page,) = said(printed(statement(EUR, [1]), name="Łucja 𠮷 ब Ωmega"))
    assert "Łucja □ □ Ωmega @ada_1815" in " ".join(page.split())


def test_every_digit_of_a_coin_is_there() -> None:
    wei = 123_456_789_012_345_678_901_234_567_891
    page = said(printed(statement(ETH, [wei, -1])))[0]
    assert "+123,456,789,012.345678901234567891" in page
    assert "\u22120.000000000000000001" in page
    assert "123,456,789,012.345678901234567890" in page


def test_a_kind_without_words_is_named_as_it_is() -> None:
    (page,) = said(printed(statement(EUR, [1], kind="something.new")))
    assert "something.new" in page


def test_the_same_statement_is_the_same_file() -> None:
    made = statement(EUR, [5, -3])
    assert printed(made) == printed(made)


@pytest.mark.parametrize("tag", ["en", "zh-Hans"])
def test_fonts_hold_every_word_there_is(tag: str) -> None:
    words = paper_words(load_languages()[tag], sandbox=True)
    fields = [getattr(words, name) for name in Words.__slots__ if name != "kinds"]
    held: set[int] = set()
    for font in ("sans-regular", "han-regular"):
        held |= set(TTFont(FONTS / f"{font}.woff").getBestCmap())
    text = "".join([*fields, *words.kinds.values()])
    assert {one for one in text if ord(one) not in held} == set()


def test_an_empty_period_says_so() -> None:
    (page,) = said(printed(statement(EUR, [], opening=42)))
    assert "Nothing was booked" in page
    assert page.count("0.42") == 4

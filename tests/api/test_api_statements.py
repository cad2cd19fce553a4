"""Statements: what they add up to, who sees them, and what a spreadsheet makes of them."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from wallet.money import Asset, Money
from wallet.statements import Statement, StatementDefect, StatementLine, as_csv
from wallet.statements.builder import prove

LONG_AGO = "2026-01-01T00:00:00Z"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
EUR = Asset("EUR", "fiat", 2, "Euro", 10**12)


def start() -> str:
    return (datetime.now(UTC) - timedelta(days=300)).isoformat()


def line(seq: int, minor: int, balance: int, reference: str = "x") -> StatementLine:
    return StatementLine(
        seq, f"ent_{seq}", "transfer", reference, Money(minor, EUR), Money(balance, EUR), NOW, NOW
    )


class TestProof:
    def test_a_sound_chain_passes(self) -> None:
        prove(3, 100, 5, 70, [line(4, -50, 50), line(5, 20, 70)])

    @pytest.mark.parametrize(
        ("first", "opening", "last", "closing", "lines"),
        [
            (3, 100, 5, 71, [line(4, -50, 50), line(5, 20, 70)]),  # closing
            (3, 100, 5, 70, [line(4, -50, 51), line(5, 20, 70)]),  # a balance on the way
            (3, 100, 6, 70, [line(4, -50, 50), line(6, 20, 70)]),  # a gap
            (3, 100, 5, 50, [line(4, -50, 50)]),  # the last is missing
            (0, 5, 0, 5, []),  # money from nowhere
        ],
    )
    def test_a_corrupted_one_is_a_defect(
        self, first: int, opening: int, last: int, closing: int, lines: Any
    ) -> None:
        with pytest.raises(StatementDefect):
            prove(first, opening, last, closing, lines)


class TestSheet:
    def test_formulas_are_text_and_amounts_stay_numbers(self) -> None:
        sums = (line(1, 500, 500, '=HYPERLINK("x")'), line(2, -100, 400, "@SUM(A1)"))
        made = Statement(EUR, NOW, NOW, Money(0, EUR), Money(400, EUR), sums)
        sheet = as_csv(made)
        assert not sheet.startswith(b"\xef\xbb\xbf")
        rows = list(csv.DictReader(io.StringIO(sheet.decode())))
        assert [row["reference"] for row in rows] == ["", '\'=HYPERLINK("x")', "'@SUM(A1)", ""]
        assert [row["amount"] for row in rows] == ["", "5.00", "-1.00", ""]
        assert [row["balance"] for row in rows] == ["0.00", "5.00", "4.00", "4.00"]


class TestRoute:
    async def test_periods_chain_and_nobody_sees_the_other(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        for _ in range(3):
            await ada.post(
                "/v1/transfers", {"to": bob.id, "money": {"amount": "1.50", "asset": "EUR"}}
            )
        whole = (await ada.get("/v1/statements", **{"asset": "EUR", "from": start()})).json()
        assert (whole["opening"]["amount"], whole["closing"]["amount"]) == ("0.00", "5.50")
        amounts = [row["money"]["amount"] for row in whole["lines"]]
        assert amounts == ["10.00", "-1.50", "-1.50", "-1.50"]
        assert [row["seq"] for row in whole["lines"]] == [1, 2, 3, 4]
        assert whole["lines"][-1]["balance"]["amount"] == await ada.available("EUR")
        seen: list[int] = []
        closing = "0.00"
        later = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
        edges = [start(), *(row["booked_at"] for row in whole["lines"]), later]
        for since, until in pairwise(edges):
            if since == until:
                continue
            query = {"asset": "EUR", "from": since, "to": until}
            part = (await ada.get("/v1/statements", **query)).json()
            assert part["opening"]["amount"] == closing
            closing = part["closing"]["amount"]
            seen.extend(row["seq"] for row in part["lines"])
        assert (seen, closing) == ([1, 2, 3, 4], "5.50")
        theirs = (await bob.get("/v1/statements", **{"asset": "EUR", "from": start()})).json()
        assert [row["money"]["amount"] for row in theirs["lines"]] == ["1.50"] * 3

    async def test_an_empty_account_is_a_sheet_of_two_lines(self, world: Any) -> None:
        ada = await world.person()
        query = {"asset": "EUR", "from": start(), "format": "csv"}
        answer = await ada.get("/v1/statements", **query)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert answer.headers["content-disposition"].startswith("attachment; filename=")
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert [(row["kind"], row["balance"]) for row in rows] == [
            ("opening", "0.00"), ("closing", "0.00"),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("more", "status", "code"),
        [
            ({"asset": "XXX"}, 422, "unknown_asset"),
            ({"asset": "ETH", "format": "camt053"}, 406, "not_acceptable"),
            ({"format": "xlsx"}, 422, "invalid_field"),
            ({"to": "2027-01-03T00:00:00Z", "format": "pdf"}, 422, "invalid_field"),
            ({"to": "2025-12-31T00:00:00Z"}, 422, "invalid_field"),
            ({"to": "2027-01-03T00:00:00Z"}, 422, "invalid_field"),
        ],
    )
    async def test_what_cannot_be_is_told(
        self, world: Any, more: dict[str, str], status: int, code: str
    ) -> None:
        ada = await world.person()
        refused = await ada.get("/v1/statements", **{"asset": "EUR", "from": LONG_AGO, **more})
        assert (refused.status_code, refused.json()["code"]) == (status, code)

    async def test_it_comes_as_pages_and_as_camt(self, world: Any) -> None:
        ada = await world.person(EUR="10.00")
        query = {"asset": "EUR", "from": start()}
        pages = await ada.get("/v1/statements", **{**query, "format": "pdf"})
        assert (pages.status_code, pages.headers["content-type"]) == (200, "application/pdf")
        assert pages.headers["content-language"] == "en"
        assert pages.headers["content-disposition"].endswith('.pdf"')
        assert pages.content.startswith(b"%PDF-")
        chinese = await ada.send(
            "GET", "/v1/statements", params={**query, "format": "pdf"},
            headers={"Accept-Language": "zh-CN"},
        )  # fmt: skip
        assert chinese.headers["content-language"] == "zh-Hans"
        assert "BifoldHan" in chinese.content.decode("latin-1")
        assert "BifoldHan" not in pages.content.decode("latin-1")
        xml = await ada.get("/v1/statements", **{**query, "format": "camt053"})
        assert (xml.status_code, xml.headers["content-type"]) == (
            200, "application/xml; charset=utf-8",
        )  # fmt: skip
        assert '<Amt Ccy="EUR">10.00</Amt>' in xml.text

    async def test_more_lines_than_paper_holds_are_told(self, world: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr("api.web.statement_files.MAX_PAPER_LINES", 1)
        ada = await world.person(EUR="1.00")
        await world.bed.give(ada.id, "2.00", "EUR")
        query = {"asset": "EUR", "from": start()}
        refused = await ada.get("/v1/statements", **{**query, "format": "pdf"})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_field")
        assert (await ada.get("/v1/statements", **query)).status_code == 200

    async def test_too_many_lines_are_told(self, world: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr("wallet.statements.builder.MAX_LINES", 1)
        ada = await world.person(EUR="1.00")
        await world.bed.give(ada.id, "2.00", "EUR")
        refused = await ada.get("/v1/statements", **{"asset": "EUR", "from": start()})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_field")
        assert "2 lines" in refused.json()["detail"]

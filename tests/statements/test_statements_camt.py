"""camt.053.001.08: the elements in the standard's order, its types, and sums a reader can check."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from xml.etree import ElementTree as Xml

import pytest

from wallet.errors import NotAcceptable
from wallet.money import Asset, Money
from wallet.statements import Holder, Statement, StatementLine, as_camt053

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
EUR = Asset("EUR", "fiat", 2, "Euro", 10**12)
PRINCIPAL = "usr_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"
NS = "{urn:iso:std:iso:20022:tech:xsd:camt.053.001.08}"
# The order of the standard's sequences, as far as we use them.
ORDER = {
    "Stmt": ("Id", "CreDtTm", "FrToDt", "Acct", "Bal", "TxsSummry", "Ntry", "AddtlStmtInf"),
    "Ntry": ("NtryRef", "Amt", "CdtDbtInd", "Sts", "BookgDt", "ValDt", "AcctSvcrRef", "BkTxCd",
             "AddtlNtryInf"),
    "Bal": ("Tp", "Amt", "CdtDbtInd", "Dt"),
    "Acct": ("Id", "Ccy", "Ownr"),
    "TxsSummry": ("TtlNtries", "TtlCdtNtries", "TtlDbtNtries"),
    "TtlNtries": ("NbOfNtries", "Sum", "TtlNetNtry"),
    "GrpHdr": ("MsgId", "CreDtTm"),
    "BkToCstmrStmt": ("GrpHdr", "Stmt"),
}  # fmt: skip
MAX_TEXT = {"MsgId": 35, "Id": 35, "NtryRef": 35, "AcctSvcrRef": 35, "Cd": 35, "Issr": 35,
            "Nm": 140, "AddtlNtryInf": 500, "AddtlStmtInf": 500}  # fmt: skip
AMOUNT = re.compile(r"\d{1,18}(?:\.\d{1,5})?\Z")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")


def statement(amounts: list[int], *, opening: int = 0, asset: Asset = EUR) -> Statement:
    lines, balance = [], opening
    for seq, minor in enumerate(amounts, 1):
        balance += minor
        at = BEGAN + timedelta(minutes=seq)
        lines.append(
            StatementLine(
                seq, f"ent_01JD3VQ4T0Z8Y6X5W4V3T2S1R{seq % 10}", "payment.converted", "pay_1",
                Money(minor, asset), Money(balance, asset), at, at,
            )
        )  # fmt: skip
    end = BEGAN + timedelta(days=31)
    return Statement(asset, BEGAN, end, Money(opening, asset), Money(balance, asset), tuple(lines))


def written(made: Statement, *, name: str = "Ada", sandbox: bool = True) -> bytes:
    return as_camt053(
        made, principal_id=PRINCIPAL, holder=Holder(name, "ada"), made_at=BEGAN, sandbox=sandbox
    )


def check(element: Xml.Element) -> None:
    """Order, types and lengths, all the way down."""
    tag = element.tag.removeprefix(NS)
    names = [child.tag.removeprefix(NS) for child in element]
    if tag in ORDER:
        places = [ORDER[tag].index(name) for name in names]
        assert places == sorted(places), (tag, names)
    text = element.text or ""
    if tag in MAX_TEXT and not names:
        assert 1 <= len(text) <= MAX_TEXT[tag], (tag, text)
    if tag in {"Amt", "Sum"}:
        assert AMOUNT.fullmatch(text), text
        assert len(text.replace(".", "")) <= 18
    if tag in {"DtTm", "CreDtTm", "FrDtTm", "ToDtTm"}:
        assert MOMENT.fullmatch(text), text
    if tag == "CdtDbtInd":
        assert text in {"CRDT", "DBIT"}
    for child in element:
        check(child)


def signed(element: Xml.Element) -> Decimal:
    amount = Decimal(element.findtext(f"{NS}Amt") or "")
    return -amount if element.findtext(f"{NS}CdtDbtInd") == "DBIT" else amount


def test_it_has_the_standards_shape_and_adds_up() -> None:
    made = statement([125_000, -4_999, 1], opening=700)
    root = Xml.fromstring(written(made))
    assert root.tag == f"{NS}Document"
    check(root)
    (stmt,) = root.iter(f"{NS}Stmt")
    balances = {
        one.findtext(f"{NS}Tp/{NS}CdOrPrtry/{NS}Cd"): signed(one) for one in stmt.iter(f"{NS}Bal")
    }
    assert balances == {"OPBD": Decimal("7.00"), "CLBD": Decimal("1207.02")}
    entries = [signed(one) for one in stmt.iter(f"{NS}Ntry")]
    assert entries == [Decimal("1250.00"), Decimal("-49.99"), Decimal("0.01")]
    assert balances["OPBD"] + sum(entries) == balances["CLBD"]
    summary = stmt.find(f"{NS}TxsSummry")
    assert summary is not None
    assert [one.findtext(f"{NS}NbOfNtries") for one in summary] == ["3", "2", "1"]
    assert [one.findtext(f"{NS}Sum") for one in summary] == ["1300.00", "1250.01", "49.99"]
    account = stmt.findtext(f"{NS}Acct/{NS}Id/{NS}Othr/{NS}Id") or ""
    assert account == f"{PRINCIPAL}:EUR"
    assert len(account) <= 34
    assert "sandbox" in (stmt.findtext(f"{NS}AddtlStmtInf") or "")


def test_a_statement_of_less_than_nothing_says_debit() -> None:
    root = Xml.fromstring(written(statement([-500], opening=100), sandbox=False))
    check(root)
    assert [signed(one) for one in root.iter(f"{NS}Bal")] == [Decimal("1.00"), Decimal("-4.00")]
    assert root.find(f".//{NS}AddtlStmtInf") is None


def test_the_same_content_is_the_same_message() -> None:
    first, other = statement([1, 2]), statement([1, 2, 3])

    def name(made: Statement) -> str | None:
        return Xml.fromstring(written(made)).findtext(f".//{NS}MsgId")

    assert name(first) == name(first)
    assert name(first) != name(other)


def test_a_name_is_text_and_never_markup() -> None:
    root = Xml.fromstring(written(statement([1]), name="<b>&Ada\x07"))
    assert root.findtext(f".//{NS}Nm") == "<b>&Ada "


@pytest.mark.parametrize(
    "asset",
    [
        Asset("ETH", "native", 18, "Ether", 10**30),
        Asset("USDC", "token", 6, "USD Coin", 10**30),
        Asset("BNB", "native", 2, "three letters, no currency", 10**30),
    ],
)
def test_coins_are_refused_not_rounded(asset: Asset) -> None:
    with pytest.raises(NotAcceptable):
        written(statement([1], asset=asset))


def test_an_amount_beyond_the_standard_is_refused() -> None:
    with pytest.raises(NotAcceptable):
        written(statement([10**18]))

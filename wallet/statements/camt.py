"""A statement as ISO 20022 camt.053.001.08 (bank to customer statement), for bookkeeping programs.

The standard knows currencies of three letters and amounts of at most 18 digits, five of them
behind the point; coins with more have no place in it and are refused rather than rounded.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from xml.etree import ElementTree as Xml

from wallet.clock import rfc3339
from wallet.errors import NotAcceptable
from wallet.money import Asset, Money, format_amount
from wallet.statements.builder import Statement, StatementLine
from wallet.statements.words import Holder

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"
CODE_LETTERS, FRACTION_DIGITS, TOTAL_DIGITS = 3, 5, 18
NAME_CHARS = 140
ISSUER = "BIFOLD"
SIMULATED = "Simulated: made in a sandbox. Money, banks and rates are play money."


def as_camt053(
    statement: Statement, *, principal_id: str, holder: Holder, made_at: datetime, sandbox: bool
) -> bytes:
    """UTF-8 XML; times in UTC. Raises NotAcceptable for what the standard cannot say exactly.

    The message's id is made of its content: the same statement, asked twice, is the same message.
    """
    fits(statement.asset)
    root = Xml.Element("Document", xmlns=NAMESPACE)
    body = Xml.SubElement(root, "BkToCstmrStmt")
    name = _identity(statement, principal_id)
    head = Xml.SubElement(body, "GrpHdr")
    _say(head, "MsgId", name)
    _say(head, "CreDtTm", rfc3339(made_at))
    stmt = Xml.SubElement(body, "Stmt")
    _say(stmt, "Id", name)
    _say(stmt, "CreDtTm", rfc3339(made_at))
    period = Xml.SubElement(stmt, "FrToDt")
    _say(period, "FrDtTm", rfc3339(statement.since))
    _say(period, "ToDtTm", rfc3339(statement.until))
    account = Xml.SubElement(stmt, "Acct")
    _say(account, "Id/Othr/Id", f"{principal_id}:{statement.asset.code}")
    _say(account, "Ccy", statement.asset.code)
    _say(account, "Ownr/Nm", _xml_text(holder.name)[:NAME_CHARS])
    _balance(stmt, "OPBD", statement.opening, statement.since)
    _balance(stmt, "CLBD", statement.closing, statement.until)
    _summary(stmt, statement)
    for line in statement.lines:
        _entry(stmt, line)
    if sandbox:
        _say(stmt, "AddtlStmtInf", SIMULATED)
    return bytes(Xml.tostring(root, encoding="utf-8", xml_declaration=True))


def fits(asset: Asset) -> None:
    """Raises NotAcceptable where the standard has no word for this asset."""
    if len(asset.code) != CODE_LETTERS or asset.kind != "fiat" or asset.scale > FRACTION_DIGITS:
        raise NotAcceptable(
            f"camt.053 knows currencies only, and {asset.code} is none; ask for csv or json.",
            field="/query/format",
        )


def _identity(statement: Statement, principal_id: str) -> str:
    """At most 35 characters."""
    parts = [principal_id, statement.asset.code, rfc3339(statement.since), rfc3339(statement.until)]
    parts += [statement.closing.amount, *(line.entry_id for line in statement.lines)]
    return "stm-" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:30]


def _balance(stmt: Xml.Element, code: str, money: Money, moment: datetime) -> None:
    balance = Xml.SubElement(stmt, "Bal")
    _say(balance, "Tp/CdOrPrtry/Cd", code)
    _amount(balance, money)
    _say(balance, "Dt/DtTm", rfc3339(moment))


def _summary(stmt: Xml.Element, statement: Statement) -> None:
    """Counts and sums of both directions, so that a reader can check what it read."""
    money_in = [line.money.minor for line in statement.lines if line.money.minor > 0]
    money_out = [-line.money.minor for line in statement.lines if line.money.minor < 0]
    net = Money(sum(money_in) - sum(money_out), statement.asset)
    summary = Xml.SubElement(stmt, "TxsSummry")
    every = Xml.SubElement(summary, "TtlNtries")
    _count(every, [*money_in, *money_out], statement.asset)
    _amount(Xml.SubElement(every, "TtlNetNtry"), net, named=False)
    _count(Xml.SubElement(summary, "TtlCdtNtries"), money_in, statement.asset)
    _count(Xml.SubElement(summary, "TtlDbtNtries"), money_out, statement.asset)


def _count(parent: Xml.Element, amounts: list[int], asset: Asset) -> None:
    _say(parent, "NbOfNtries", str(len(amounts)))
    _say(parent, "Sum", _digits(sum(amounts), asset))


def _entry(stmt: Xml.Element, line: StatementLine) -> None:
    entry = Xml.SubElement(stmt, "Ntry")
    _say(entry, "NtryRef", str(line.seq))
    _amount(entry, line.money)
    _say(entry, "Sts/Cd", "BOOK")
    _say(entry, "BookgDt/DtTm", rfc3339(line.booked_at))
    _say(entry, "ValDt/DtTm", rfc3339(line.event_at))
    _say(entry, "AcctSvcrRef", line.entry_id)
    code = Xml.SubElement(Xml.SubElement(entry, "BkTxCd"), "Prtry")
    _say(code, "Cd", line.kind)
    _say(code, "Issr", ISSUER)
    _say(entry, "AddtlNtryInf", _xml_text(line.reference))


def _amount(parent: Xml.Element, money: Money, *, named: bool = True) -> None:
    """Without a sign: which way it went stands beside it."""
    amount = Xml.SubElement(parent, "Amt", {"Ccy": money.asset.code} if named else {})
    amount.text = _digits(abs(money.minor), money.asset)
    _say(parent, "CdtDbtInd", "DBIT" if money.minor < 0 else "CRDT")


def _digits(minor: int, asset: Asset) -> str:
    if len(str(minor)) > TOTAL_DIGITS:
        raise NotAcceptable("An amount is too long for camt.053.", field="/query/format")
    return format_amount(minor, asset.scale)


def _say(parent: Xml.Element, path: str, text: str) -> None:
    for tag in path.split("/"):
        parent = Xml.SubElement(parent, tag)
    parent.text = text


def _xml_text(text: str) -> str:
    """XML has no place for control characters, however they are written."""
    return "".join(one if one.isprintable() else " " for one in text)

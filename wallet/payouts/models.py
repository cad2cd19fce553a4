"""Tables of payouts. The simulated bank keeps its own in schema `simbank`, outside of this."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Column, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from wallet.kernel_models import MINOR, STAMP


class Payout(SQLModel, table=True):
    """One order to a bank and the last answer about it. `reference` never changes."""

    __tablename__ = "payouts"
    reference: str = Field(primary_key=True, sa_type=Text)
    ref: str = Field(sa_type=Text, unique=True)
    rail: str = Field(sa_type=Text)
    asset: str = Field(sa_type=Text)
    amount_minor: Decimal = Field(sa_type=MINOR)
    beneficiary: dict[str, Any] = Field(sa_type=JSONB)
    remittance: str = Field(sa_type=Text)
    answer: str | None = Field(sa_type=Text)
    reason: str | None = Field(sa_type=Text)
    contradicted_at: datetime | None = Field(sa_type=STAMP)
    created_at: datetime = Field(sa_type=STAMP)
    told_at: datetime | None = Field(sa_type=STAMP)
    answered_at: datetime | None = Field(sa_type=STAMP)


class BankLine(SQLModel, table=True):
    """One line of a bank's statement as we read it. Negative: money left the account."""

    __tablename__ = "bank_lines"
    bank: str = Field(primary_key=True, sa_type=Text)
    line_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    asset: str = Field(sa_type=Text)
    kind: str = Field(sa_type=Text)
    reference: str = Field(sa_type=Text)
    amount_minor: Decimal = Field(sa_type=MINOR)
    at: datetime = Field(sa_type=STAMP)
    matched_at: datetime | None = Field(sa_type=STAMP)
    problem: str | None = Field(sa_type=Text)


class BankCredit(SQLModel, table=True):
    """A bank transfer that came in for somebody, booked once by its line on the statement."""

    __tablename__ = "bank_credits"
    bank: str = Field(primary_key=True, sa_type=Text)
    line_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    bank_reference: str = Field(sa_type=Text)
    principal_id: str = Field(sa_type=Text, foreign_key="principals.id")
    asset: str = Field(sa_type=Text)
    amount_minor: Decimal = Field(sa_type=MINOR)
    entry_id: str = Field(sa_type=Text, unique=True, foreign_key="entries.id")
    topup_id: str = Field(sa_type=Text, unique=True, foreign_key="topups.id")
    created_at: datetime = Field(sa_type=STAMP)


class BankLineAside(SQLModel, table=True):
    """A line of a bank's statement that makes no sense. `account`: the asset that was asked for;
    `said`: its fields as they came, in print."""

    __tablename__ = "bank_lines_aside"
    bank: str = Field(primary_key=True, sa_type=Text)
    account: str = Field(primary_key=True, sa_type=Text)
    line_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    said: dict[str, Any] = Field(sa_type=JSONB)
    problem: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=STAMP)

"""Tables of top-ups. The simulated gateway keeps its own in schema `simgate`, outside of this."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import BigInteger, Column, SmallInteger, Text
from sqlmodel import Field, SQLModel

from wallet.kernel_models import MINOR, STAMP


class CardRow(SQLModel, table=True):
    """A bound card: the gateway's token and what people know it by. Its number is never here."""

    __tablename__ = "cards"
    id: str = Field(primary_key=True, sa_type=Text)
    principal_id: str = Field(sa_type=Text, foreign_key="principals.id")
    gateway: str = Field(sa_type=Text)
    token: str = Field(sa_type=Text)
    brand: str = Field(sa_type=Text)
    last4: str = Field(sa_type=Text)
    exp_month: int = Field(sa_type=SmallInteger)
    exp_year: int = Field(sa_type=SmallInteger)
    created_at: datetime = Field(sa_type=STAMP)
    removed_at: datetime | None = Field(sa_type=STAMP)


class TopupRow(SQLModel, table=True):
    """One top-up. `amount_minor`: minor units of `asset`, above zero."""

    __tablename__ = "topups"
    id: str = Field(primary_key=True, sa_type=Text)
    principal_id: str = Field(sa_type=Text, foreign_key="principals.id")
    method: str = Field(sa_type=Text)
    asset: str = Field(sa_type=Text)
    amount_minor: Decimal = Field(sa_type=MINOR)
    status: str = Field(sa_type=Text)
    card_id: str | None = Field(sa_type=Text, foreign_key="cards.id")
    waiting_for: str | None = Field(sa_type=Text)
    action_url: str | None = Field(sa_type=Text)
    reason: str | None = Field(sa_type=Text)
    kept_aside: bool
    entry_id: str | None = Field(sa_type=Text, unique=True, foreign_key="entries.id")
    charge_back_entry_id: str | None = Field(sa_type=Text, unique=True, foreign_key="entries.id")
    told_at: datetime | None = Field(sa_type=STAMP)
    next_at: datetime | None = Field(sa_type=STAMP)
    expires_at: datetime | None = Field(sa_type=STAMP)
    created_at: datetime = Field(sa_type=STAMP)
    ended_at: datetime | None = Field(sa_type=STAMP)


class GatewayLineRow(SQLModel, table=True):
    """One line of the gateway's own list as we read it. Negative: it took money back."""

    __tablename__ = "gateway_lines"
    gateway: str = Field(primary_key=True, sa_type=Text)
    line_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    asset: str = Field(sa_type=Text)
    kind: str = Field(sa_type=Text)
    reference: str = Field(sa_type=Text)
    amount_minor: Decimal = Field(sa_type=MINOR)
    at: datetime = Field(sa_type=STAMP)
    entry_id: str | None = Field(sa_type=Text, unique=True, foreign_key="entries.id")


class BankReference(SQLModel, table=True):
    """What one person writes on a bank transfer."""

    __tablename__ = "bank_references"
    principal_id: str = Field(primary_key=True, sa_type=Text, foreign_key="principals.id")
    reference: str = Field(sa_type=Text, unique=True)
    created_at: datetime = Field(sa_type=STAMP)


class BankStray(SQLModel, table=True):
    """An incoming transfer that named nobody, and what two operators made of it."""

    __tablename__ = "bank_strays"
    id: str = Field(primary_key=True, sa_type=Text)
    bank: str = Field(sa_type=Text)
    line_id: int = Field(sa_type=BigInteger)
    bank_reference: str = Field(sa_type=Text)
    asset: str = Field(sa_type=Text)
    amount_minor: Decimal = Field(sa_type=MINOR)
    about: str = Field(sa_type=Text)
    entry_id: str = Field(sa_type=Text, unique=True, foreign_key="entries.id")
    principal_id: str | None = Field(sa_type=Text, foreign_key="principals.id")
    proposed_by: str | None = Field(sa_type=Text)
    approved_by: str | None = Field(sa_type=Text)
    topup_id: str | None = Field(sa_type=Text, unique=True, foreign_key="topups.id")
    created_at: datetime = Field(sa_type=STAMP)


class GatewayResolution(SQLModel, table=True):
    """A difference with the gateway's list that two operators put right; see r0036."""

    __tablename__ = "gateway_resolutions"
    id: str = Field(primary_key=True, sa_type=Text)
    gateway: str = Field(sa_type=Text)
    reference: str = Field(sa_type=Text, foreign_key="topups.id")
    asset: str = Field(sa_type=Text)
    kind: str = Field(sa_type=Text)
    deed: str = Field(sa_type=Text)
    listed_minor: Decimal = Field(sa_type=MINOR)
    booked_minor: Decimal = Field(sa_type=MINOR)
    through_line: int = Field(sa_type=BigInteger)
    reason: str = Field(sa_type=Text)
    state: str = Field(sa_type=Text)
    proposed_by: str = Field(sa_type=Text)
    proposed_at: datetime = Field(sa_type=STAMP)
    ended_by: str | None = Field(sa_type=Text)
    ended_at: datetime | None = Field(sa_type=STAMP)
    principal_id: str | None = Field(sa_type=Text, foreign_key="principals.id")
    entry_id: str | None = Field(sa_type=Text, unique=True, foreign_key="entries.id")

"""Tables of the books. Read here; written by the SQL function `ledger_post` alone."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CHAR, BigInteger, Column, ForeignKey, Identity, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from wallet.kernel_models import MINOR, STAMP


class Account(SQLModel, table=True):
    """One owner, one asset. `balance_minor` credit-positive; system: the folded part."""

    __tablename__ = "accounts"
    id: str = Field(primary_key=True, sa_type=Text)
    path: str = Field(sa_type=Text, unique=True)
    principal_id: str | None = Field(sa_type=Text, foreign_key="principals.id")
    asset: str = Field(sa_type=Text)
    kind: str = Field(sa_type=Text)
    side: str = Field(sa_type=CHAR(1))
    status: str = Field(sa_type=Text)
    balance_minor: Decimal = Field(sa_type=MINOR)
    held_minor: Decimal = Field(sa_type=MINOR)
    posting_count: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(sa_type=STAMP)


class AccountDelta(SQLModel, table=True):
    """An unfolded change of a system account's balance."""

    __tablename__ = "account_deltas"
    id: int | None = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    account_id: str = Field(sa_type=Text, foreign_key="accounts.id")
    amount_minor: Decimal = Field(sa_type=MINOR)
    lines: int


class PaymentHold(SQLModel, table=True):
    """Between whom a hold is, and how it ended; the money is in `holds`."""

    __tablename__ = "payment_holds"
    id: str = Field(primary_key=True, sa_type=Text, foreign_key="holds.id")
    payer_id: str = Field(sa_type=Text, foreign_key="principals.id")
    payee_id: str = Field(sa_type=Text, foreign_key="principals.id")
    note: str | None = Field(sa_type=Text)
    ended: str | None = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=STAMP)


class Entry(SQLModel, table=True):
    """A balanced, immutable fact. `event_at`: when it happened; `created_at`: when we wrote it."""

    __tablename__ = "entries"
    id: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(sa_type=Text)
    ref: str = Field(sa_type=Text)
    reverses: str | None = Field(sa_type=Text, foreign_key="entries.id")
    meta: dict[str, Any] = Field(sa_type=JSONB)
    event_at: datetime = Field(sa_type=STAMP)
    created_at: datetime = Field(sa_type=STAMP)


class Posting(SQLModel, table=True):
    """One line of an entry. Positive credits the account."""

    __tablename__ = "postings"
    __table_args__ = (UniqueConstraint("entry_id", "account_id", name="postings_once_per_account"),)
    id: int | None = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    entry_id: str = Field(sa_type=Text)
    account_id: str = Field(sa_type=Text)
    asset: str = Field(sa_type=Text)
    amount_minor: Decimal = Field(sa_type=MINOR)
    account_seq: int | None = Field(sa_type=BigInteger)
    balance_after_minor: Decimal | None = Field(sa_type=MINOR)
    created_at: datetime = Field(sa_type=STAMP)


class Hold(SQLModel, table=True):
    """Money set aside on a customer's account until captured or released."""

    __tablename__ = "holds"
    id: str = Field(primary_key=True, sa_type=Text)
    account_id: str = Field(sa_type=Text, foreign_key="accounts.id")
    asset: str = Field(sa_type=Text)
    kind: str = Field(sa_type=Text)
    ref: str = Field(sa_type=Text)
    amount_minor: Decimal = Field(sa_type=MINOR)
    captured_minor: Decimal = Field(sa_type=MINOR)
    released_minor: Decimal = Field(sa_type=MINOR)
    status: str = Field(sa_type=Text)
    expires_at: datetime | None = Field(sa_type=STAMP)
    created_at: datetime = Field(sa_type=STAMP)
    closed_at: datetime | None = Field(sa_type=STAMP)


class HoldCapture(SQLModel, table=True):
    """Which entry spent what of a hold."""

    __tablename__ = "hold_captures"
    entry_id: str = Field(
        sa_column=Column(
            Text,
            # Written before its entry, in the same transaction.
            ForeignKey(
                "entries.id",
                name="hold_captures_entry_id_fkey",
                deferrable=True,
                initially="DEFERRED",
            ),
            primary_key=True,
        )
    )
    hold_id: str = Field(primary_key=True, sa_type=Text, foreign_key="holds.id")
    account_id: str = Field(sa_type=Text, foreign_key="accounts.id")
    amount_minor: Decimal = Field(sa_type=MINOR)


class Transfer(SQLModel, table=True):
    """A customer's instruction inside the wallet; written with its entry by `ledger_post`."""

    __tablename__ = "transfers"
    id: str = Field(primary_key=True, sa_type=Text)
    payer_id: str = Field(sa_type=Text)
    payee_id: str = Field(sa_type=Text)
    asset: str = Field(sa_type=Text)
    amount_minor: Decimal = Field(sa_type=MINOR)
    note: str | None = Field(sa_type=Text)
    entry_id: str = Field(sa_type=Text, unique=True)
    created_at: datetime = Field(sa_type=STAMP)

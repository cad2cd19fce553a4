"""Tables of payments and recipients."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Column, Identity, SmallInteger, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from wallet.kernel_models import MINOR, STAMP


class RecipientRow(SQLModel, table=True):
    """Where somebody sends money: `details` by `type`, checked when it was made."""

    __tablename__ = "recipients"
    id: str = Field(primary_key=True, sa_type=Text)
    principal_id: str = Field(sa_type=Text, foreign_key="principals.id")
    type: str = Field(sa_type=Text)
    name: str = Field(sa_type=Text)
    country: str = Field(sa_type=Text)
    details: dict[str, Any] = Field(sa_type=JSONB)
    created_at: datetime = Field(sa_type=STAMP)


class PaymentRow(SQLModel, table=True):
    """A cross-border payment. Amounts are its quote's; `refund_minor` is what came back."""

    __tablename__ = "payments"
    id: str = Field(primary_key=True, sa_type=Text)
    uetr: UUID = Field(unique=True)
    principal_id: str = Field(sa_type=Text, foreign_key="principals.id")
    quote_id: str = Field(sa_type=Text, unique=True, foreign_key="quotes.id")
    recipient_id: str = Field(sa_type=Text, foreign_key="recipients.id")
    corridor: str = Field(sa_type=Text)
    rail: str = Field(sa_type=Text)
    purpose: str = Field(sa_type=Text)
    reference: str | None = Field(sa_type=Text)
    travel_rule: dict[str, Any] | None = Field(sa_type=JSONB)
    status: str = Field(sa_type=Text)
    reason: str | None = Field(sa_type=Text)
    waiting_for: str | None = Field(sa_type=Text)
    waiting_until: datetime | None = Field(sa_type=STAMP)
    next_try_at: datetime | None = Field(sa_type=STAMP)
    refund_minor: Decimal | None = Field(sa_type=MINOR)
    created_at: datetime = Field(sa_type=STAMP)
    updated_at: datetime = Field(sa_type=STAMP)
    ended_at: datetime | None = Field(sa_type=STAMP)


class PaymentLegRow(SQLModel, table=True):
    """One leg of a payment."""

    __tablename__ = "payment_legs"
    __table_args__ = (UniqueConstraint("payment_id", "kind"),)
    id: str = Field(primary_key=True, sa_type=Text)
    payment_id: str = Field(sa_type=Text, foreign_key="payments.id")
    position: int = Field(sa_type=SmallInteger)
    kind: str = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    asset: str = Field(sa_type=Text)
    amount_minor: Decimal = Field(sa_type=MINOR)
    reference: str | None = Field(sa_type=Text)
    at: datetime | None = Field(sa_type=STAMP)


class PaymentEventRow(SQLModel, table=True):
    """What happened to a payment, in order."""

    __tablename__ = "payment_events"
    id: int | None = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    payment_id: str = Field(sa_type=Text, foreign_key="payments.id")
    type: str = Field(sa_type=Text)
    detail: str = Field(sa_type=Text)
    at: datetime = Field(sa_type=STAMP)

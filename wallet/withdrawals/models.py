"""Tables of withdrawals."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Column, Identity, Numeric, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from wallet.kernel_models import MINOR, STAMP


class Withdrawal(SQLModel, table=True):
    """Money on its way to an outside address. All `_minor` are of `asset`, fees included.

    `gas_rate`: minor units of `asset` for one wei of gas, fixed at creation.
    """

    __tablename__ = "withdrawals"
    id: str = Field(primary_key=True, sa_type=Text)
    principal_id: str = Field(sa_type=Text, foreign_key="principals.id")
    network: str = Field(sa_type=Text)
    asset: str = Field(sa_type=Text)
    amount_minor: Decimal = Field(sa_type=MINOR)
    to_address: str = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    failure_code: str | None = Field(sa_type=Text)
    gas_rate: Decimal = Field(sa_type=Numeric)
    fee_bound_minor: Decimal = Field(sa_type=MINOR)
    fee_expected_minor: Decimal = Field(sa_type=MINOR)
    fee_minor: Decimal | None = Field(sa_type=MINOR)
    hold_id: str = Field(sa_type=Text, unique=True, foreign_key="holds.id")
    intent_id: str = Field(sa_type=Text, unique=True, foreign_key="chain_intents.id")
    entry_id: str | None = Field(sa_type=Text, unique=True, foreign_key="entries.id")
    created_at: datetime = Field(sa_type=STAMP)
    updated_at: datetime = Field(sa_type=STAMP)


class WithdrawalEvent(SQLModel, table=True):
    """One line of a withdrawal's history."""

    __tablename__ = "withdrawal_events"
    id: int | None = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    withdrawal_id: str = Field(sa_type=Text, foreign_key="withdrawals.id")
    type: str = Field(sa_type=Text)
    detail: dict[str, Any] = Field(sa_type=JSONB)
    at: datetime = Field(sa_type=STAMP)

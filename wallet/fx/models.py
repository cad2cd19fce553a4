"""Tables of the exchange."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import Integer, Numeric, Text
from sqlmodel import Field, SQLModel

from wallet.kernel_models import MINOR, STAMP


class FxRate(SQLModel, table=True):
    """What one whole unit of an asset was worth in EUR at a moment."""

    __tablename__ = "fx_rates"
    asset: str = Field(primary_key=True, sa_type=Text)
    as_of: datetime = Field(primary_key=True, sa_type=STAMP)
    eur_price: Decimal = Field(sa_type=Numeric)
    source: str = Field(sa_type=Text)
    simulated: bool


class QuoteRow(SQLModel, table=True):
    """A locked price. `source_minor` is the whole debit, fee and spread are inside it."""

    __tablename__ = "quotes"
    id: str = Field(primary_key=True, sa_type=Text)
    principal_id: str = Field(sa_type=Text, foreign_key="principals.id")
    kind: str = Field(sa_type=Text)
    corridor: str | None = Field(sa_type=Text)
    fixed_side: str = Field(sa_type=Text)
    source_asset: str = Field(sa_type=Text)
    source_minor: Decimal = Field(sa_type=MINOR)
    target_asset: str = Field(sa_type=Text)
    target_minor: Decimal = Field(sa_type=MINOR)
    fee_minor: Decimal = Field(sa_type=MINOR)
    spread_minor: Decimal = Field(sa_type=MINOR)
    mid_rate: Decimal = Field(sa_type=Numeric)
    spread: Decimal = Field(sa_type=Numeric)
    rate: Decimal = Field(sa_type=Numeric)
    rate_as_of: datetime = Field(sa_type=STAMP)
    simulated: bool
    rounding: str = Field(sa_type=Text)
    refund_rule: str | None = Field(sa_type=Text)
    eta_seconds: int = Field(sa_type=Integer)
    eur_minor: Decimal = Field(sa_type=MINOR)
    created_at: datetime = Field(sa_type=STAMP)
    expires_at: datetime = Field(sa_type=STAMP)
    used_at: datetime | None = Field(sa_type=STAMP)
    used_by: str | None = Field(sa_type=Text, unique=True)

"""Tables of conversions."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import Text
from sqlmodel import Field, SQLModel

from wallet.kernel_models import MINOR, STAMP


class ConversionRow(SQLModel, table=True):
    """A completed exchange of one asset for another."""

    __tablename__ = "conversions"
    id: str = Field(primary_key=True, sa_type=Text)
    principal_id: str = Field(sa_type=Text, foreign_key="principals.id")
    quote_id: str = Field(sa_type=Text, unique=True, foreign_key="quotes.id")
    status: str = Field(sa_type=Text)
    source_asset: str = Field(sa_type=Text)
    source_minor: Decimal = Field(sa_type=MINOR)
    target_asset: str = Field(sa_type=Text)
    target_minor: Decimal = Field(sa_type=MINOR)
    entry_id: str = Field(sa_type=Text, unique=True, foreign_key="entries.id")
    created_at: datetime = Field(sa_type=STAMP)

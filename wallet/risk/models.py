"""Tables of the limits."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import Text
from sqlmodel import Field, SQLModel

from wallet.kernel_models import MINOR, STAMP


class OutgoingUsage(SQLModel, table=True):
    """Euro cents that one withdrawal or payment counts against the day."""

    __tablename__ = "outgoing_usage"
    ref: str = Field(primary_key=True, sa_type=Text)
    principal_id: str = Field(sa_type=Text, foreign_key="principals.id")
    kind: str = Field(sa_type=Text)
    eur_minor: Decimal = Field(sa_type=MINOR)
    created_at: datetime = Field(sa_type=STAMP)
    released_at: datetime | None = Field(sa_type=STAMP)

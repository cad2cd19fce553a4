"""The operator log's table. Its rows are written by triggers alone (r0051)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from wallet.kernel_models import STAMP


class OperatorLog(SQLModel, table=True):
    """One change of one row that people decide about. `role` is the database's role, `actor` the
    name an operator gave; `fields` what is kept of the row after it (of a deleted one: before)."""

    __tablename__ = "operator_log"
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True))
    at: datetime = Field(sa_type=STAMP)
    role: str = Field(sa_type=Text)
    actor: str | None = Field(default=None, sa_type=Text)
    action: str = Field(sa_type=Text)
    object: str = Field(sa_type=Text)
    object_id: str = Field(sa_type=Text)
    fields: dict[str, Any] = Field(sa_type=JSONB)

"""The table of cases."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from wallet.kernel_models import STAMP


class CaseRow(SQLModel, table=True):
    """One case; at most one open of a kind about one subject. Closed ones stay."""

    __tablename__ = "cases"
    id: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(sa_type=Text)
    subject_type: str = Field(sa_type=Text)
    subject: str = Field(sa_type=Text)
    network: str | None = Field(sa_type=Text)
    asset: str | None = Field(sa_type=Text)
    severity: str = Field(sa_type=Text)
    what: str = Field(sa_type=Text)
    evidence: dict[str, Any] = Field(sa_type=JSONB)
    status: str = Field(sa_type=Text)
    opened_at: datetime = Field(sa_type=STAMP)
    closed_at: datetime | None = Field(sa_type=STAMP)
    closed_by: str | None = Field(sa_type=Text)
    closing_note: str | None = Field(sa_type=Text)

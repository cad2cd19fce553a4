"""Table of corrections; see r0026."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from wallet.kernel_models import STAMP


class CorrectionRow(SQLModel, table=True):
    """A reversal or a batch of entries: proposed by one, posted when another agrees."""

    __tablename__ = "corrections"
    id: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(sa_type=Text)
    reverses: str | None = Field(sa_type=Text, foreign_key="entries.id")
    document: dict[str, Any] = Field(sa_type=JSONB)
    reason: str = Field(sa_type=Text)
    state: str = Field(sa_type=Text)
    proposed_by: str = Field(sa_type=Text)
    proposed_at: datetime = Field(sa_type=STAMP)
    ended_by: str | None = Field(sa_type=Text)
    ended_at: datetime | None = Field(sa_type=STAMP)
    entry_ids: list[str] | None = Field(sa_type=ARRAY(Text))

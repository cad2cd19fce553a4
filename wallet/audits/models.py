"""Tables of the auditor's reports, and of what follows from them. Amounts are minor units."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Column, ForeignKey, Identity, Numeric, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from wallet.kernel_models import STAMP


class AuditRun(SQLModel, table=True):
    """One audit. Written by the auditor's role alone."""

    __tablename__ = "audit_runs"
    id: int | None = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    started_at: datetime = Field(sa_type=STAMP)
    ended_at: datetime = Field(sa_type=STAMP)
    after_posting: int = Field(sa_type=BigInteger)
    settled_posting: int | None = Field(sa_type=BigInteger)
    postings: int = Field(sa_type=BigInteger)
    findings: int
    seconds: Decimal = Field(sa_type=Numeric(12, 3))
    chains: list[dict[str, Any]] = Field(sa_type=JSONB)
    acted_at: datetime | None = Field(sa_type=STAMP)


class AuditFinding(SQLModel, table=True):
    """One break of one run."""

    __tablename__ = "audit_findings"
    run_id: int = Field(
        sa_column=Column(
            BigInteger, ForeignKey("audit_runs.id", ondelete="CASCADE"), primary_key=True
        )
    )
    n: int = Field(primary_key=True)
    code: str = Field(sa_type=Text)
    means: str = Field(sa_type=Text)
    subject: str = Field(sa_type=Text)
    network: str | None = Field(sa_type=Text)
    asset: str | None = Field(sa_type=Text)
    expected: str = Field(sa_type=Text)
    found: str = Field(sa_type=Text)
    pauses: bool
    fingerprint: str = Field(sa_type=Text)


class AuditCheckpoint(SQLModel, table=True):
    """What an account came to at a posting."""

    __tablename__ = "audit_checkpoints"
    run_id: int = Field(primary_key=True, sa_type=BigInteger)
    account_id: str = Field(primary_key=True, sa_type=Text)
    upto_posting: int = Field(sa_type=BigInteger)
    sum_minor: Decimal = Field(sa_type=Numeric)
    lines: int = Field(sa_type=BigInteger)
    last_balance_minor: Decimal | None = Field(sa_type=Numeric)


class AuditPause(SQLModel, table=True):
    """While it is here, withdrawals of the asset get no nonce."""

    __tablename__ = "audit_pauses"
    asset: str = Field(primary_key=True, sa_type=Text)
    run_id: int = Field(sa_type=BigInteger)
    reason: str = Field(sa_type=Text)
    at: datetime = Field(sa_type=STAMP)


class AuditAccepted(SQLModel, table=True):
    """A break that an operator has looked at."""

    __tablename__ = "audit_accepted"
    fingerprint: str = Field(primary_key=True, sa_type=Text)
    code: str = Field(sa_type=Text)
    subject: str = Field(sa_type=Text)
    accepted_by: str = Field(sa_type=Text)
    note: str = Field(sa_type=Text)
    at: datetime = Field(sa_type=STAMP)

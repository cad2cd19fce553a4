"""Tables of readings; see r0026. Written once, never changed; old ones go by `reconcile_forget`."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import BigInteger, Column, ForeignKey, ForeignKeyConstraint, Text
from sqlmodel import Field, SQLModel

from wallet.kernel_models import MINOR, STAMP


class ReconcileRun(SQLModel, table=True):
    """One reading of everything. `outcome`: agrees, differs, or unknown."""

    __tablename__ = "reconcile_runs"
    id: str = Field(primary_key=True, sa_type=Text)
    outcome: str = Field(sa_type=Text)
    started_at: datetime = Field(sa_type=STAMP)
    ended_at: datetime = Field(sa_type=STAMP)


class ReconcileRead(SQLModel, table=True):
    """What was asked: a network at a named block, the bank, the books themselves."""

    __tablename__ = "reconcile_reads"
    run_id: str = Field(
        sa_column=Column(
            Text, ForeignKey("reconcile_runs.id", ondelete="CASCADE"), primary_key=True
        )
    )
    source: str = Field(primary_key=True, sa_type=Text)
    unknown_reason: str | None = Field(sa_type=Text)
    block_number: int | None = Field(sa_type=BigInteger)
    block_hash: str | None = Field(sa_type=Text)
    final: bool | None


class ReconcileLineRow(SQLModel, table=True):
    """One account beside the outside's word: minor units, positive where the house owns."""

    __tablename__ = "reconcile_lines"
    __table_args__ = (
        ForeignKeyConstraint(
            ["run_id", "source"],
            ["reconcile_reads.run_id", "reconcile_reads.source"],
            ondelete="CASCADE",
        ),
    )
    run_id: str = Field(primary_key=True, sa_type=Text)
    account: str = Field(primary_key=True, sa_type=Text)
    source: str = Field(sa_type=Text)
    asset: str = Field(sa_type=Text)
    ledger_minor: Decimal = Field(sa_type=MINOR)
    outside_minor: Decimal = Field(sa_type=MINOR)
    in_flight_minor: Decimal = Field(sa_type=MINOR)
    difference_minor: Decimal = Field(sa_type=MINOR)
    balanced: bool
    note: str = Field(sa_type=Text)

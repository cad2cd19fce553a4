"""Tables of sweeps; see r0013."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import BigInteger, Text
from sqlmodel import Field, SQLModel

from wallet.kernel_models import MINOR, STAMP


class Sweep(SQLModel, table=True):
    """One movement of the house's own: `kind` says by which means."""

    __tablename__ = "sweeps"
    id: str = Field(primary_key=True, sa_type=Text)
    network: str = Field(sa_type=Text)
    asset: str = Field(sa_type=Text)
    kind: str = Field(sa_type=Text)
    treasury: str = Field(sa_type=Text)
    place: str = Field(sa_type=Text)
    intent_id: str = Field(sa_type=Text, unique=True, foreign_key="chain_intents.id")
    state: str = Field(sa_type=Text)
    entry_id: str | None = Field(sa_type=Text, unique=True, foreign_key="entries.id")
    created_at: datetime = Field(sa_type=STAMP)
    ended_at: datetime | None = Field(sa_type=STAMP)


class SweepAccount(SQLModel, table=True):
    """A deposit address in a sweep; in one open sweep of its network at a time."""

    __tablename__ = "sweep_accounts"
    sweep_id: str = Field(primary_key=True, sa_type=Text, foreign_key="sweeps.id")
    network: str = Field(sa_type=Text)
    address: str = Field(primary_key=True, sa_type=Text)
    open: bool


class DepositMove(SQLModel, table=True):
    """What a final sweep did to one deposit address, signed, in minor units."""

    __tablename__ = "deposit_moves"
    sweep_id: str = Field(primary_key=True, sa_type=Text, foreign_key="sweeps.id")
    network: str = Field(sa_type=Text)
    address: str = Field(primary_key=True, sa_type=Text)
    asset: str = Field(primary_key=True, sa_type=Text)
    minor: Decimal = Field(sa_type=MINOR)
    block_number: int = Field(sa_type=BigInteger)

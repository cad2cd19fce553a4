"""Tables of the treasury; see r0012 and r0032."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import Text
from sqlmodel import Field, SQLModel

from wallet.kernel_models import MINOR, STAMP


class FloatBounds(SQLModel, table=True):
    """How much of an asset should lie hot, or warm, in minor units."""

    __tablename__ = "float_bounds"
    network: str = Field(primary_key=True, sa_type=Text)
    asset: str = Field(primary_key=True, sa_type=Text)
    tier: str = Field(primary_key=True, sa_type=Text)
    low_minor: Decimal = Field(sa_type=MINOR)
    high_minor: Decimal = Field(sa_type=MINOR)
    set_by: str = Field(sa_type=Text)
    set_at: datetime = Field(sa_type=STAMP)


class TreasuryMove(SQLModel, table=True):
    """One move of the house's own coins, proposed by one and approved by another."""

    __tablename__ = "treasury_moves"
    id: str = Field(primary_key=True, sa_type=Text)
    network: str = Field(sa_type=Text)
    asset: str = Field(sa_type=Text)
    kind: str = Field(sa_type=Text)
    to_address: str | None = Field(sa_type=Text)
    amount_minor: Decimal = Field(sa_type=MINOR)
    state: str = Field(sa_type=Text)
    proposed_by: str = Field(sa_type=Text)
    approved_by: str | None = Field(sa_type=Text)
    intent_id: str | None = Field(sa_type=Text, unique=True, foreign_key="chain_intents.id")
    tx_hash: str | None = Field(sa_type=Text)
    entry_id: str | None = Field(sa_type=Text, unique=True, foreign_key="entries.id")
    reason: str | None = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=STAMP)
    ended_at: datetime | None = Field(sa_type=STAMP)


class NetworkFreeze(SQLModel, table=True):
    """While it is here nothing of customers leaves on this network."""

    __tablename__ = "network_freezes"
    network: str = Field(primary_key=True, sa_type=Text)
    reason: str = Field(sa_type=Text)
    evacuate_to: str | None = Field(sa_type=Text)
    by_whom: str = Field(sa_type=Text)
    at: datetime = Field(sa_type=STAMP)

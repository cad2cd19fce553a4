"""Tables of watching. Nothing of the books refers to them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    Text,
    UniqueConstraint,
)
from sqlmodel import Field, SQLModel

from wallet.kernel_models import MINOR, STAMP


class WatchedRow(SQLModel, table=True):
    """An address or an account's xpub that a person looks at. `identity` is unique per person."""

    __tablename__ = "watched"
    __table_args__ = (UniqueConstraint("principal_id", "identity"),)
    id: str = Field(primary_key=True, sa_type=Text)
    principal_id: str = Field(sa_type=Text, foreign_key="principals.id")
    kind: str = Field(sa_type=Text)
    label: str = Field(sa_type=Text)
    identity: str = Field(sa_type=Text)
    xpub: str | None = Field(default=None, sa_type=Text)
    created_at: datetime = Field(sa_type=STAMP)


class WatchedAddressRow(SQLModel, table=True):
    """Position 0 for an address; the index on branch 0 for an xpub."""

    __tablename__ = "watched_addresses"
    watched_id: str = Field(
        sa_column=Column(Text, ForeignKey("watched.id", ondelete="CASCADE"), primary_key=True)
    )
    position: int = Field(primary_key=True, sa_type=Integer)
    address: str = Field(sa_type=Text)
    used_at: datetime | None = Field(default=None, sa_type=STAMP)


class WatchedBalanceRow(SQLModel, table=True):
    """What a network said at a block. `amount_minor` in the asset's smallest unit."""

    __tablename__ = "watched_balances"
    __table_args__ = (
        ForeignKeyConstraint(
            ["watched_id", "position"],
            ["watched_addresses.watched_id", "watched_addresses.position"],
            ondelete="CASCADE",
        ),
    )
    watched_id: str = Field(primary_key=True, sa_type=Text)
    position: int = Field(primary_key=True, sa_type=Integer)
    network: str = Field(primary_key=True, sa_type=Text)
    asset: str = Field(primary_key=True, sa_type=Text)
    amount_minor: Decimal = Field(sa_type=MINOR)
    block_number: int = Field(sa_type=BigInteger)
    read_at: datetime = Field(sa_type=STAMP)

"""Tables of custody: which address is whose."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, Integer, Text
from sqlmodel import Field, SQLModel

from wallet.kernel_models import STAMP


class DepositAddress(SQLModel, table=True):
    """An address derived for one principal. `derivation_index` is unique over all networks."""

    __tablename__ = "deposit_addresses"
    id: str = Field(primary_key=True, sa_type=Text)
    principal_id: str = Field(sa_type=Text, foreign_key="principals.id")
    network: str = Field(sa_type=Text)
    derivation_index: int = Field(sa_column=Column(Integer, unique=True, nullable=False))
    address: str = Field(sa_type=Text, unique=True)
    is_current: bool
    created_at: datetime = Field(sa_type=STAMP)


class HouseAddress(SQLModel, table=True):
    """An address the house knows: its hot, warm and cold wallets, and the sandbox's faucet."""

    __tablename__ = "house_addresses"
    network: str = Field(primary_key=True, sa_type=Text)
    address: str = Field(primary_key=True, sa_type=Text)
    place: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=STAMP)

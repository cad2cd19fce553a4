"""Tables of the kernel: clock, process and network state, faults, retries, promises."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

STAMP = DateTime(timezone=True)
MINOR = Numeric(78, 0)


class SandboxClock(SQLModel, table=True):
    """The sandbox's forward-only offset to the real clock."""

    __tablename__ = "sandbox_clock"
    only_row: bool = Field(default=True, primary_key=True)
    offset_seconds: int = Field(sa_column=Column(BigInteger, nullable=False))


class AssetTerms(SQLModel, table=True):
    """What one unit of a coin or token is; written once, when it is first listed."""

    __tablename__ = "asset_terms"
    code: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(sa_type=Text)
    scale: int = Field(sa_column=Column(Integer, nullable=False))
    name: str = Field(sa_type=Text)
    listed_at: datetime = Field(sa_type=STAMP)


class ProcessState(SQLModel, table=True):
    """One row a process of this instance, for /readyz."""

    __tablename__ = "process_state"
    name: str = Field(primary_key=True, sa_type=Text)
    healthy: bool
    detail: str = Field(sa_type=Text)
    at: datetime = Field(sa_type=STAMP)


class NetworkState(SQLModel, table=True):
    """What the observer last saw of a network. `as_of` is when; older than 15 s is unavailable."""

    __tablename__ = "network_state"
    network: str = Field(primary_key=True, sa_type=Text)
    chain_id: int | None = Field(sa_type=BigInteger)
    block1_hash: str | None = Field(sa_type=Text)
    head_number: int | None = Field(sa_type=BigInteger)
    head_hash: str | None = Field(sa_type=Text)
    head_time: datetime | None = Field(sa_type=STAMP)
    base_fee_wei: Decimal | None = Field(sa_type=MINOR)
    tip_wei: Decimal | None = Field(sa_type=MINOR)
    cap_wei: Decimal | None = Field(sa_type=MINOR)
    as_of: datetime | None = Field(sa_type=STAMP)
    healthy: bool
    detail: str = Field(sa_type=Text)
    snapshot_block: int | None = Field(sa_type=BigInteger)
    snapshot_hash: str | None = Field(sa_type=Text)
    halted_reason: str | None = Field(sa_type=Text)
    halted_at: datetime | None = Field(sa_type=STAMP)
    factory: str | None = Field(sa_type=Text)
    compared_in: str | None = Field(sa_type=Text)


class SandboxFault(SQLModel, table=True):
    """A named fault that the sandbox plays while it is enabled."""

    __tablename__ = "sandbox_faults"
    name: str = Field(primary_key=True, sa_type=Text)
    enabled: bool
    updated_at: datetime = Field(sa_type=STAMP)


class RateCounter(SQLModel, table=True):
    """Hits in one fixed window of one bucket."""

    __tablename__ = "rate_counters"
    bucket: str = Field(primary_key=True, sa_type=Text)
    window_start: datetime = Field(primary_key=True, sa_type=STAMP)
    hits: int


class IdempotencyAnswer(SQLModel, table=True):
    """The stored 2xx of one (principal, method, route, key)."""

    __tablename__ = "idempotency_answers"
    principal_id: str = Field(primary_key=True, sa_type=Text)
    method: str = Field(primary_key=True, sa_type=Text)
    route: str = Field(primary_key=True, sa_type=Text)
    key: str = Field(primary_key=True, sa_type=Text)
    fingerprint: bytes = Field(sa_type=LargeBinary)
    status: int = Field(sa_type=SmallInteger)
    location: str | None = Field(sa_type=Text)
    body: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=STAMP)


class OutboxRow(SQLModel, table=True):
    """A promise written with the rows it speaks of."""

    __tablename__ = "outbox"
    id: int | None = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    principal_id: str | None = Field(sa_type=Text)
    type: str = Field(sa_type=Text)
    ref: str = Field(sa_type=Text)
    data: dict[str, Any] = Field(sa_type=JSONB)
    created_at: datetime = Field(sa_type=STAMP)


class Event(SQLModel, table=True):
    """What the relay published, in one gapless order."""

    __tablename__ = "events"
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    id: str = Field(sa_type=Text, unique=True)
    principal_id: str | None = Field(sa_type=Text)
    type: str = Field(sa_type=Text)
    ref: str = Field(sa_type=Text)
    data: dict[str, Any] = Field(sa_type=JSONB)
    created_at: datetime = Field(sa_type=STAMP)

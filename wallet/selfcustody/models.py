"""Tables of self-custody; see r0011. Nothing of the books refers to them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Column, LargeBinary, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from wallet.kernel_models import MINOR, STAMP


class SelfCustodyKey(SQLModel, table=True):
    """The signer's public key of its current process; boxes are sealed for it."""

    __tablename__ = "selfcustody_key"
    singleton: bool = Field(primary_key=True)
    public_key: str = Field(sa_type=Text)
    seen_at: datetime = Field(sa_type=STAMP)


class SelfCustodyAccount(SQLModel, table=True):
    """An account; `sealed` opens with its owner's passphrase inside the signer only."""

    __tablename__ = "selfcustody_accounts"
    id: str = Field(primary_key=True, sa_type=Text)
    principal_id: str = Field(sa_type=Text, foreign_key="principals.id")
    label: str = Field(sa_type=Text)
    address: str = Field(sa_type=Text)
    sealed: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    created_at: datetime = Field(sa_type=STAMP)
    removed_at: datetime | None = Field(sa_type=STAMP)


class SelfCustodyRequest(SQLModel, table=True):
    """One question to the signer. Its box is forgotten with the answer."""

    __tablename__ = "selfcustody_requests"
    __table_args__ = (UniqueConstraint("principal_id", "nonce"),)
    id: str = Field(primary_key=True, sa_type=Text)
    principal_id: str = Field(sa_type=Text, foreign_key="principals.id")
    nonce: str = Field(sa_type=Text)
    purpose: str = Field(sa_type=Text)
    label: str | None = Field(sa_type=Text)
    account_id: str | None = Field(sa_type=Text, foreign_key="selfcustody_accounts.id")
    box: dict[str, Any] | None = Field(sa_column=Column(JSONB))
    state: str = Field(sa_type=Text)
    reply: dict[str, Any] | None = Field(sa_column=Column(JSONB))
    reason: str | None = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=STAMP)


class SelfCustodySend(SQLModel, table=True):
    """A payment out of an own account; `max_fee_wei` is what its owner granted."""

    __tablename__ = "selfcustody_sends"
    id: str = Field(primary_key=True, sa_type=Text)
    principal_id: str = Field(sa_type=Text, foreign_key="principals.id")
    account_id: str = Field(sa_type=Text, foreign_key="selfcustody_accounts.id")
    request_id: str = Field(sa_type=Text, unique=True, foreign_key="selfcustody_requests.id")
    network: str = Field(sa_type=Text)
    asset: str = Field(sa_type=Text)
    to_address: str = Field(sa_type=Text)
    amount_minor: Decimal = Field(sa_type=MINOR)
    max_fee_wei: Decimal = Field(sa_type=MINOR)
    state: str = Field(sa_type=Text)
    reason: str | None = Field(sa_type=Text)
    grant_name: str | None = Field(sa_type=Text)
    nonce: int | None = Field(sa_type=BigInteger)
    given_in: str | None = Field(sa_type=Text)
    unsigned: bytes | None = Field(sa_type=LargeBinary)
    raw: bytes | None = Field(sa_type=LargeBinary)
    tx_hash: str | None = Field(sa_type=Text)
    mined_block: int | None = Field(sa_type=BigInteger)
    gas_fee_wei: Decimal | None = Field(sa_type=MINOR)
    sent_at: datetime | None = Field(sa_type=STAMP)
    created_at: datetime = Field(sa_type=STAMP)
    updated_at: datetime = Field(sa_type=STAMP)

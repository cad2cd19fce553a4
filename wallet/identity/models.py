"""Principals, users, retired handles, sessions."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, LargeBinary, Text
from sqlmodel import Field, SQLModel

from wallet.kernel_models import STAMP


class Principal(SQLModel, table=True):
    """Owner of accounts, resources and idempotency keys."""

    __tablename__ = "principals"
    id: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=STAMP)


class User(SQLModel, table=True):
    """A person. `email_key` is the address as compared; `email` as typed."""

    __tablename__ = "users"
    id: str = Field(primary_key=True, sa_type=Text, foreign_key="principals.id")
    handle: str = Field(sa_type=Text, unique=True)
    email: str = Field(sa_type=Text)
    email_key: str = Field(sa_type=Text, unique=True)
    email_verified_at: datetime | None = Field(sa_type=STAMP)
    password_hash: str = Field(sa_type=Text)
    display_name: str = Field(sa_type=Text)
    country: str = Field(sa_type=Text)
    locale: str = Field(sa_type=Text)
    display_asset: str = Field(sa_type=Text)
    kyc_tier: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=STAMP)


class RetiredHandle(SQLModel, table=True):
    """A handle that somebody had and nobody will have again."""

    __tablename__ = "retired_handles"
    handle: str = Field(primary_key=True, sa_type=Text)
    retired_at: datetime = Field(sa_type=STAMP)


class UserSession(SQLModel, table=True):
    """A signed-in session; the token itself is kept nowhere, only its SHA-256."""

    __tablename__ = "sessions"
    id: str = Field(primary_key=True, sa_type=Text)
    principal_id: str = Field(sa_type=Text, foreign_key="principals.id")
    token_hash: bytes = Field(sa_type=LargeBinary, unique=True)
    kind: str = Field(sa_type=Text)
    user_agent: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=STAMP)
    last_seen_at: datetime = Field(sa_type=STAMP)
    expires_at: datetime = Field(sa_type=STAMP)
    revoked_at: datetime | None = Field(sa_type=STAMP)


class SiweNonce(SQLModel, table=True):
    """One message asked for; signed at most once."""

    __tablename__ = "siwe_nonces"
    nonce: str = Field(primary_key=True, sa_type=Text)
    purpose: str = Field(sa_type=Text)
    principal_id: str | None = Field(sa_type=Text, foreign_key="principals.id")
    expires_at: datetime = Field(sa_type=STAMP)
    used_at: datetime | None = Field(sa_type=STAMP)
    browser: bytes | None = Field(sa_type=LargeBinary)


class LinkedWallet(SQLModel, table=True):
    """An address that signs its owner in."""

    __tablename__ = "linked_wallets"
    address: str = Field(primary_key=True, sa_type=Text)
    principal_id: str = Field(sa_type=Text, foreign_key="principals.id")
    linked_at: datetime = Field(sa_type=STAMP)
    chain_id: int | None = Field(sa_type=BigInteger)

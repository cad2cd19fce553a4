"""Tables of sending: signers, intents, attempts."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import BigInteger, Integer, LargeBinary, SmallInteger, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from wallet.kernel_models import MINOR, STAMP


class ChainSigner(SQLModel, table=True):
    """One hot address on one network; its row is the lock under which nonces are given."""

    __tablename__ = "chain_signers"
    network: str = Field(primary_key=True, sa_type=Text)
    address: str = Field(primary_key=True, sa_type=Text)
    next_nonce: int = Field(sa_type=BigInteger)
    role: str = Field(sa_type=Text)
    deposit_index: int | None = Field(sa_type=Integer)
    halted_reason: str | None = Field(sa_type=Text)
    halted_at: datetime | None = Field(sa_type=STAMP)
    created_at: datetime = Field(sa_type=STAMP)


class NonceBurn(SQLModel, table=True):
    """The transfer of nothing that uses up nonce 0 of a hot address on Ganache."""

    __tablename__ = "nonce_burns"
    network: str = Field(primary_key=True, sa_type=Text)
    address: str = Field(primary_key=True, sa_type=Text)
    raw: bytes = Field(sa_type=LargeBinary)
    tx_hash: str = Field(sa_type=Text)
    sent_at: datetime | None = Field(sa_type=STAMP)
    entry_id: str | None = Field(sa_type=Text, unique=True, foreign_key="entries.id")
    created_at: datetime = Field(sa_type=STAMP)


class NetworkNode(SQLModel, table=True):
    """How one node of a network stood when the observer last looked."""

    __tablename__ = "network_nodes"
    network: str = Field(primary_key=True, sa_type=Text)
    position: int = Field(primary_key=True, sa_type=SmallInteger)
    state: str = Field(sa_type=Text)
    head_number: int | None = Field(sa_type=BigInteger)
    detail: str = Field(sa_type=Text)
    at: datetime = Field(sa_type=STAMP)


class HaltedToken(SQLModel, table=True):
    """A listed token that is neither credited nor sent until an operator has looked."""

    __tablename__ = "halted_tokens"
    network: str = Field(primary_key=True, sa_type=Text)
    asset: str = Field(primary_key=True, sa_type=Text)
    reason: str = Field(sa_type=Text)
    at: datetime = Field(sa_type=STAMP)


class ChainIntent(SQLModel, table=True):
    """One payment on chain, made once. `(purpose, ref)` names it; `amount_minor` in `asset`."""

    __tablename__ = "chain_intents"
    __table_args__ = (
        UniqueConstraint("purpose", "ref"),
        UniqueConstraint("network", "from_address", "nonce"),
    )
    id: str = Field(primary_key=True, sa_type=Text)
    purpose: str = Field(sa_type=Text)
    ref: str = Field(sa_type=Text)
    network: str = Field(sa_type=Text)
    asset: str = Field(sa_type=Text)
    to_address: str = Field(sa_type=Text)
    amount_minor: Decimal = Field(sa_type=MINOR)
    gas_limit: int = Field(sa_type=BigInteger)
    fee_ceiling_wei: Decimal = Field(sa_type=MINOR)
    state: str = Field(sa_type=Text)
    reason: str | None = Field(sa_type=Text)
    waiting_for: str | None = Field(sa_type=Text)
    from_address: str | None = Field(sa_type=Text)
    nonce: int | None = Field(sa_type=BigInteger)
    pinned_address: str | None = Field(sa_type=Text)
    data: bytes | None = Field(sa_type=LargeBinary)
    authorizations: bytes | None = Field(sa_type=LargeBinary)
    batch_id: str | None = Field(sa_type=Text, foreign_key="chain_intents.id")
    alone: bool
    exact_fee: bool
    mined_tx_hash: str | None = Field(sa_type=Text)
    mined_kind: str | None = Field(sa_type=Text)
    mined_block: int | None = Field(sa_type=BigInteger)
    mined_block_hash: str | None = Field(sa_type=Text)
    mined_status: int | None = Field(sa_type=SmallInteger)
    gas_used: int | None = Field(sa_type=BigInteger)
    gas_fee_wei: Decimal | None = Field(sa_type=MINOR)
    passed_at_block: int | None = Field(sa_type=BigInteger)
    cancel_requested_at: datetime | None = Field(sa_type=STAMP)
    speed_up_requested_at: datetime | None = Field(sa_type=STAMP)
    cancel_asked_by: str | None = Field(sa_type=Text)
    unsent_at: datetime | None = Field(sa_type=STAMP)
    created_at: datetime = Field(sa_type=STAMP)
    updated_at: datetime = Field(sa_type=STAMP)


class ChainApproval(SQLModel, table=True):
    """An operator's signature that lets one payment pass above the signer's limit, or, with
    another's, out of warm. `by_whom`: the name given with it."""

    __tablename__ = "chain_approvals"
    intent_id: str = Field(primary_key=True, sa_type=Text, foreign_key="chain_intents.id")
    operator: str = Field(primary_key=True, sa_type=Text)
    by_whom: str | None = Field(sa_type=Text)
    signature: bytes = Field(sa_type=LargeBinary)
    created_at: datetime = Field(sa_type=STAMP)


class ChainAttempt(SQLModel, table=True):
    """One set of bytes for an intent's nonce. `unsigned` is fixed before the signer is asked."""

    __tablename__ = "chain_attempts"
    __table_args__ = (UniqueConstraint("network", "tx_hash"),)
    intent_id: str = Field(primary_key=True, sa_type=Text, foreign_key="chain_intents.id")
    seq: int = Field(primary_key=True, sa_type=SmallInteger)
    network: str = Field(sa_type=Text)
    kind: str = Field(sa_type=Text)
    unsigned: bytes = Field(sa_type=LargeBinary)
    tip_wei: Decimal = Field(sa_type=MINOR)
    cap_wei: Decimal = Field(sa_type=MINOR)
    refused: str | None = Field(sa_type=Text)
    raw: bytes | None = Field(sa_type=LargeBinary)
    tx_hash: str | None = Field(sa_type=Text)
    sends: int
    first_sent_at: datetime | None = Field(sa_type=STAMP)
    late_at: datetime | None = Field(sa_type=STAMP)
    last_sent_at: datetime | None = Field(sa_type=STAMP)
    last_outcome: str | None = Field(sa_type=Text)
    last_message: str | None = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=STAMP)
    signed_at: datetime | None = Field(sa_type=STAMP)

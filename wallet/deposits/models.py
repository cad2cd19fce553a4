"""Tables of the scanner: where it stands, the lineage it followed, what arrived."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import BigInteger, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from wallet.kernel_models import MINOR, STAMP


class ScanState(SQLModel, table=True):
    """The newest scanned block, and the height at or below which nothing may change any more."""

    __tablename__ = "scan_state"
    network: str = Field(primary_key=True, sa_type=Text)
    tip_number: int = Field(sa_type=BigInteger)
    tip_hash: str = Field(sa_type=Text)
    final_number: int = Field(sa_type=BigInteger)
    final_hash: str | None = Field(sa_type=Text)
    started_at_block: int = Field(sa_type=BigInteger)
    updated_at: datetime = Field(sa_type=STAMP)


class ChainBlock(SQLModel, table=True):
    """One scanned block of the lineage followed now."""

    __tablename__ = "chain_blocks"
    __table_args__ = (UniqueConstraint("network", "hash"),)
    network: str = Field(primary_key=True, sa_type=Text)
    number: int = Field(primary_key=True, sa_type=BigInteger)
    hash: str = Field(sa_type=Text)
    parent_hash: str = Field(sa_type=Text)
    block_time: datetime = Field(sa_type=STAMP)


class UnattributedArrival(SQLModel, table=True):
    """Value found at an address of ours without a transfer to it; see r0008."""

    __tablename__ = "unattributed_arrivals"
    __table_args__ = (UniqueConstraint("network", "address", "asset", "at_block"),)
    id: str = Field(primary_key=True, sa_type=Text)
    network: str = Field(sa_type=Text)
    address: str = Field(sa_type=Text)
    asset: str = Field(sa_type=Text)
    amount_minor: Decimal = Field(sa_type=MINOR)
    at_block: int = Field(sa_type=BigInteger)
    block_hash: str = Field(sa_type=Text)
    block_time: datetime = Field(sa_type=STAMP)
    entry_id: str = Field(sa_type=Text, unique=True, foreign_key="entries.id")
    principal_id: str | None = Field(sa_type=Text, foreign_key="principals.id")
    tx_hash: str | None = Field(sa_type=Text)
    proposed_by: str | None = Field(sa_type=Text)
    proposed_at: datetime | None = Field(sa_type=STAMP)
    approved_by: str | None = Field(sa_type=Text)
    deposit_id: str | None = Field(sa_type=Text, unique=True, foreign_key="deposits.id")
    created_at: datetime = Field(sa_type=STAMP)


class Deposit(SQLModel, table=True):
    """One arrival. `log_index` −1 for the native coin, its log's for swept coins; `trace_path`
    where it was paid inside a transaction; `principal_id` NULL at a house address; `is_move`: see
    r0038."""

    __tablename__ = "deposits"
    __table_args__ = (
        UniqueConstraint(
            "network", "block_hash", "tx_hash", "log_index", "trace_path", name="deposits_place_key"
        ),
    )
    id: str = Field(primary_key=True, sa_type=Text)
    network: str = Field(sa_type=Text)
    block_hash: str = Field(sa_type=Text)
    block_number: int = Field(sa_type=BigInteger)
    block_time: datetime = Field(sa_type=STAMP)
    tx_hash: str = Field(sa_type=Text)
    log_index: int
    trace_path: str = Field(sa_type=Text)
    asset: str = Field(sa_type=Text)
    contract: str | None = Field(sa_type=Text)
    from_address: str = Field(sa_type=Text)
    to_address: str = Field(sa_type=Text)
    amount_minor: Decimal = Field(sa_type=MINOR)
    principal_id: str | None = Field(sa_type=Text, foreign_key="principals.id")
    is_move: bool
    status: str = Field(sa_type=Text)
    reason: str | None = Field(sa_type=Text)
    entry_id: str | None = Field(sa_type=Text, unique=True, foreign_key="entries.id")
    created_at: datetime = Field(sa_type=STAMP)
    updated_at: datetime = Field(sa_type=STAMP)


class DepositRelease(SQLModel, table=True):
    """A deposit that was set aside, and that two operators found good; see r0042."""

    __tablename__ = "deposit_releases"
    id: str = Field(primary_key=True, sa_type=Text)
    deposit_id: str = Field(sa_type=Text, foreign_key="deposits.id")
    reason: str = Field(sa_type=Text)
    state: str = Field(sa_type=Text)
    proposed_by: str = Field(sa_type=Text)
    proposed_at: datetime = Field(sa_type=STAMP)
    ended_by: str | None = Field(sa_type=Text)
    ended_at: datetime | None = Field(sa_type=STAMP)
    entry_id: str | None = Field(sa_type=Text, unique=True, foreign_key="entries.id")


class DepositLoss(SQLModel, table=True):
    """A credited deposit that a fork below finality took; see r0016."""

    __tablename__ = "deposit_losses"
    id: str = Field(primary_key=True, sa_type=Text)
    deposit_id: str = Field(sa_type=Text, foreign_key="deposits.id")
    network: str = Field(sa_type=Text)
    fork_number: int = Field(sa_type=BigInteger)
    entry_id: str = Field(sa_type=Text, unique=True, foreign_key="entries.id")
    again_block_hash: str | None = Field(sa_type=Text)
    again_block_number: int | None = Field(sa_type=BigInteger)
    return_entry_id: str | None = Field(sa_type=Text, unique=True, foreign_key="entries.id")
    bearer: str | None = Field(sa_type=Text)
    bearer_proposed_by: str | None = Field(sa_type=Text)
    bearer_approved_by: str | None = Field(sa_type=Text)
    settle_entry_id: str | None = Field(sa_type=Text, unique=True, foreign_key="entries.id")
    created_at: datetime = Field(sa_type=STAMP)


class ForkProposal(SQLModel, table=True):
    """A fork below finality: one operator proposes to follow it, another agrees; see r0033."""

    __tablename__ = "fork_proposals"
    id: int = Field(primary_key=True, sa_type=BigInteger)
    network: str = Field(sa_type=Text)
    fork_number: int = Field(sa_type=BigInteger)
    next_hash: str = Field(sa_type=Text)
    fork_hash: str = Field(sa_type=Text)
    proposed_by: str = Field(sa_type=Text)
    proposed_at: datetime = Field(sa_type=STAMP)
    approved_by: str | None = Field(sa_type=Text)
    approved_at: datetime | None = Field(sa_type=STAMP)
    approved_in: int | None = Field(sa_type=BigInteger)


class ReceivableFreeze(SQLModel, table=True):
    """An account frozen until its owner's debt is repaid."""

    __tablename__ = "receivable_freezes"
    account_id: str = Field(primary_key=True, sa_type=Text, foreign_key="accounts.id")
    principal_id: str = Field(sa_type=Text, foreign_key="principals.id")
    created_at: datetime = Field(sa_type=STAMP)


class ColdGas(SQLModel, table=True):
    """Gas that a cold address paid; see r0018."""

    __tablename__ = "cold_gas"
    network: str = Field(primary_key=True, sa_type=Text)
    tx_hash: str = Field(primary_key=True, sa_type=Text)
    block_hash: str = Field(sa_type=Text)
    block_number: int = Field(sa_type=BigInteger)
    block_time: datetime = Field(sa_type=STAMP)
    address: str = Field(sa_type=Text)
    fee_minor: Decimal = Field(sa_type=MINOR)
    entry_id: str | None = Field(sa_type=Text, unique=True, foreign_key="entries.id")

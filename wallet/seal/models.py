"""Tables of the seal: the chain, and what waits for it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Column, LargeBinary, Text
from sqlmodel import Field, SQLModel

from wallet.kernel_models import STAMP


class Seal(SQLModel, table=True):
    """One link. `subject` is an entry's id, or the `seq` of an event or of a line of the
    operator log; row 0 names the chain."""

    __tablename__ = "seals"
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    kind: str = Field(sa_type=Text)
    subject: str = Field(sa_type=Text)
    digest: bytes = Field(sa_type=LargeBinary)
    hash: bytes = Field(sa_type=LargeBinary)
    sealed_at: datetime = Field(sa_type=STAMP)


class Unsealed(SQLModel, table=True):
    """An entry that was posted and is not in the chain yet."""

    __tablename__ = "unsealed"
    entry_id: str = Field(primary_key=True, sa_type=Text)
    posted: bool  # it came with its postings; else they are looked for at commit


class UnsealedLog(SQLModel, table=True):
    """A line of the operator log that is not in the chain yet."""

    __tablename__ = "unsealed_log"
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))

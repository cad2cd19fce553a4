"""The usual first version, as a contender: FastAPI, an SQLModel session per request, ORM rows.

It locks, checks and books rightly, and has nothing else: no sign-in, no idempotency, no events.
Run as `python -m bench.prototype PORT DATABASE_URL`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal

import uvicorn
from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import Column, DateTime, Numeric
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlmodel import Field, SQLModel, select
from sqlmodel.ext.asyncio.session import AsyncSession

from wallet.ids import new_id

POOL = 16


def _minor() -> Column[Decimal]:
    return Column(Numeric(78, 0), nullable=False)


def _at() -> Column[datetime]:
    return Column(DateTime(timezone=True), nullable=False)


class PrototypeAccount(SQLModel, table=True):
    """One owner, one asset."""

    id: str = Field(primary_key=True)
    owner: str = Field(index=True)
    asset: str
    balance_minor: Decimal = Field(sa_column=_minor())


class PrototypeTransfer(SQLModel, table=True):
    """What was asked for."""

    id: str = Field(primary_key=True)
    payer: str
    payee: str
    asset: str
    amount_minor: Decimal = Field(sa_column=_minor())
    created_at: datetime = Field(sa_column=_at())


class PrototypePosting(SQLModel, table=True):
    """One line of it."""

    id: str = Field(primary_key=True)
    transfer_id: str = Field(foreign_key="prototypetransfer.id", index=True)
    account_id: str = Field(foreign_key="prototypeaccount.id", index=True)
    amount_minor: Decimal = Field(sa_column=_minor())
    balance_minor: Decimal = Field(sa_column=_minor())


TABLES = [
    SQLModel.metadata.tables[name]
    for name in ("prototypeaccount", "prototypetransfer", "prototypeposting")
]


class MoneyIn(SQLModel):
    """Amount and asset."""

    amount: str
    asset: str


class TransferIn(SQLModel):
    """As the real route takes it; who pays stands in the body, for nobody signs in."""

    payer: str
    to: str
    money: MoneyIn


def create_app(engine: AsyncEngine) -> FastAPI:
    """The app on one engine."""
    sessions = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)

    async def session() -> AsyncIterator[AsyncSession]:
        async with sessions() as opened, opened.begin():
            yield opened

    app = FastAPI()

    @app.post("/v1/transfers", status_code=201)
    async def transfer(
        body: TransferIn,
        db: AsyncSession = Depends(session, scope="function"),  # noqa: B008
    ) -> dict[str, object]:
        amount = Decimal(body.money.amount) * 100
        rows = await db.exec(
            select(PrototypeAccount)
            .where(PrototypeAccount.owner.in_([body.payer, body.to]))  # type: ignore[attr-defined]
            .where(PrototypeAccount.asset == body.money.asset)
            .order_by(PrototypeAccount.id)
            .with_for_update()
        )
        found = {row.owner: row for row in rows}
        payer, payee = found[body.payer], found[body.to]
        if payer.balance_minor < amount:
            raise HTTPException(409, "insufficient_funds")
        made = PrototypeTransfer(
            id=new_id("trf"),
            payer=body.payer,
            payee=body.to,
            asset=body.money.asset,
            amount_minor=amount,
            created_at=datetime.now(UTC),
        )
        db.add(made)
        await db.flush()
        for account, change in ((payer, -amount), (payee, amount)):
            account.balance_minor += change
            db.add(account)
            db.add(
                PrototypePosting(
                    id=new_id("pst"),
                    transfer_id=made.id,
                    account_id=account.id,
                    amount_minor=change,
                    balance_minor=account.balance_minor,
                )
            )
        return {"id": made.id, "status": "completed", "created_at": made.created_at}

    return app


def main() -> None:
    """Serve until a signal."""
    engine = create_async_engine(sys.argv[2], pool_size=POOL, max_overflow=POOL)
    uvicorn.run(
        create_app(engine),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()

"""The one way to the database: an async engine, and sessions whose edge commits.

`Database.transaction()` is an edge: one request or one job, one transaction. Flows receive the
session, flush when they need to, and never commit.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias, TypeVar, cast

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from wallet import crashpoints
from wallet.errors import Busy, DatabaseUnavailable

POOL_SIZE = 8
POOL_OVERFLOW = 8
POOL_TIMEOUT_SECONDS = 10
RETRY_LIMIT = 5
RETRY_BASE_SECONDS = 0.02
# serialization_failure, deadlock_detected, lock_not_available
RETRYABLE_SQLSTATES = frozenset({"40001", "40P01", "55P03"})
# connection exceptions, operator intervention (shutdown), too many connections
AWAY_SQLSTATE_CLASSES = frozenset({"08", "57", "53"})
ACTING = "SELECT set_config('bifold.actor', :actor, true)"
SNAPSHOT = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}

ACTOR: ContextVar[str | None] = ContextVar("actor", default=None)
"""Who acts, where a person does: the operator log (`wallet/oplog`) keeps the name."""

T = TypeVar("T")
Session: TypeAlias = AsyncSession  # the name rooms above use, who know no SQLAlchemy
Reader: TypeAlias = psycopg.AsyncConnection[Any]  # and who know no driver


def sqlstate(error: DBAPIError) -> str | None:
    """The five-character SQLSTATE behind a driver error."""
    return getattr(error.orig, "sqlstate", None)


@contextmanager
def _spoken() -> Iterator[None]:
    """A full pool and a lost server, told as refusals that may be tried again."""
    try:
        yield
    except PoolTimeout:
        raise Busy("Too much is happening at once; try again in a moment.") from None
    except DBAPIError as error:
        state = sqlstate(error)
        away = isinstance(error, OperationalError) and (
            state is None or state[:2] in AWAY_SQLSTATE_CLASSES
        )
        if away or error.connection_invalidated:
            raise DatabaseUnavailable("The database is away; try again in a moment.") from error
        raise


@contextmanager
def _driver_spoken() -> Iterator[None]:
    """The same for what the driver itself raises."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        state = error.sqlstate
        if state is None or state[:2] in AWAY_SQLSTATE_CLASSES:
            raise DatabaseUnavailable("The database is away; try again in a moment.") from error
        raise


def _naming(actor: str) -> Callable[[object, object, Connection], None]:
    """Says who acts as a transaction begins, which is when its first statement does."""

    def name(_session: object, _transaction: object, connection: Connection) -> None:
        connection.execute(text(ACTING), {"actor": actor})

    return name


def _jitter() -> float:
    return 0.5 + random.random()  # noqa: S311 - spreads retries, hides nothing


async def reader_of(session: AsyncSession) -> Reader:
    """The driver's connection under a session: what it reads there, it reads in its transaction."""
    raw = await (await session.connection()).get_raw_connection()
    return cast(Reader, raw.driver_connection)


class Database:
    """Engine and session maker of one process.

    `pooled_elsewhere` switches off prepared statements, for PgBouncer in transaction mode;
    `pre_ping` off saves a round trip each time where the server cannot go away.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = POOL_SIZE,
        application_name: str = "bifold",
        pooled_elsewhere: bool = False,
        pre_ping: bool = True,
    ) -> None:
        connect_args: dict[str, object] = {
            "application_name": application_name,
            "options": "-c search_path=public,jobs -c timezone=UTC",
            "connect_timeout": 5,
        }
        if pooled_elsewhere:
            connect_args["prepare_threshold"] = None
        self.url = make_url(url)
        self.engine: AsyncEngine = create_async_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=POOL_OVERFLOW,
            pool_timeout=POOL_TIMEOUT_SECONDS,
            pool_pre_ping=pre_ping,
            hide_parameters=True,  # an error's text would carry them into the log
            connect_args=connect_args,
        )
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False, autoflush=True)

    @property
    def dsn(self) -> str:
        """The libpq form, for drivers that are not SQLAlchemy."""
        return self.url.set(drivername="postgresql").render_as_string(hide_password=False)

    def session(self) -> AsyncSession:
        """A bare session; the caller decides about its end."""
        return self._sessions()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """One edge: commit on success, roll back on any error."""
        with _spoken():
            async with self._sessions() as session:
                if (actor := ACTOR.get()) is not None:
                    event.listen(session.sync_session, "after_begin", _naming(actor))
                async with session.begin():
                    yield session
                    crashpoints.hit("db.before_commit")
                crashpoints.hit("db.after_commit")

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncSession]:
        """A read-only REPEATABLE READ transaction: every query sees the same moment.

        The driver says so in its BEGIN, which saves a round trip; the pool takes it back.
        """
        with _spoken(), _driver_spoken():
            async with self._sessions() as session, session.begin():
                await session.connection(execution_options=SNAPSHOT)
                yield session

    async def look(self, query: str, values: Mapping[str, Any] | None = None) -> Any:
        """One scalar without a transaction: for looks that mostly find nothing."""
        with _spoken():
            async with self.engine.connect() as plain:
                looking = await plain.execution_options(isolation_level="AUTOCOMMIT")
                return await looking.scalar(text(query), values)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Reader]:
        """The driver's own connection, for reads of one statement: it sees one moment by itself, so
        BEGIN and COMMIT and their round trips are left out."""
        with _spoken(), _driver_spoken():
            async with self.engine.connect() as pooled:
                raw = await pooled.get_raw_connection()
                driver = cast(Reader, raw.driver_connection)
                await driver.set_autocommit(True)
                try:
                    yield driver
                finally:
                    if driver.info.transaction_status is TransactionStatus.IDLE:
                        await driver.set_autocommit(False)
                    else:  # it broke, or its caller was cancelled in the middle
                        await pooled.invalidate()

    @asynccontextmanager
    async def driver(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """The driver's own connection, for hot paths: the caller commits, the rest is rolled back.

        One that broke, or that a cancelled caller left in the middle, is not used again.
        """
        with _spoken():
            async with self.engine.connect() as pooled:
                raw = await pooled.get_raw_connection()
                driver = cast("psycopg.AsyncConnection[Any]", raw.driver_connection)
                try:
                    yield driver
                except BaseException:
                    await pooled.invalidate()
                    raise

    @asynccontextmanager
    async def driver_alone(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """As `driver`, but each statement is a transaction by itself unless one is opened."""
        async with self.driver() as driver:
            await driver.set_autocommit(True)
            yield driver
            await driver.set_autocommit(False)

    @asynccontextmanager
    async def driver_transaction(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """One edge on the driver's own connection: commit on success, roll back on any error."""
        with _driver_spoken():
            async with self.driver() as driver:
                yield driver
                await driver.commit()

    async def run(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """Run `work` in one transaction; retry deadlocks and serialization failures, then Busy."""
        for attempt in range(RETRY_LIMIT):
            try:
                async with self.transaction() as session:
                    return await work(session)
            except DBAPIError as error:
                if sqlstate(error) not in RETRYABLE_SQLSTATES:
                    raise
            await asyncio.sleep(RETRY_BASE_SECONDS * 2**attempt * _jitter())
        raise Busy("Too much is happening at once; try again in a moment.")

    async def dispose(self) -> None:
        """Close every pooled connection."""
        await self.engine.dispose()

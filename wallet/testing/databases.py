"""A PostgreSQL for tests: one cluster per test process, one template, one fresh copy per test."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from wallet.postgres import DATABASE, EmbeddedPostgres
from wallet.sandbox.schema import let_the_clock_move

TEMPLATE = "bifold_template"
CONNECTIONS_MAX = 200
MEMORY = Path("/dev/shm")  # noqa: S108 - as below
MEMORY_LEAST_BYTES = 4 * 2**30


@dataclass(frozen=True)
class ScratchDatabase:
    """One empty database at the newest schema. URLs are SQLAlchemy's, `conninfo` is libpq's."""

    name: str
    server: EmbeddedPostgres

    @property
    def owner_url(self) -> str:
        return self.server.url("bifold_owner", self.name)

    @property
    def app_url(self) -> str:
        return self.server.url("bifold_app", self.name)

    @property
    def audit_url(self) -> str:
        return self.server.url("bifold_audit", self.name)

    @property
    def operator_url(self) -> str:
        return self.server.url("bifold_operator", self.name)

    def conninfo(self, role: str = "bifold_app") -> str:
        return self.server.conninfo(role, self.name)


def _place(*, durable: bool) -> str:
    """A folder in memory where there is room, as a database is some 900 files; on disk what is to
    be durable. Not pytest's folder: a socket's path may have 107 bytes."""
    if not durable and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_LEAST_BYTES:
        return str(MEMORY)
    return "/tmp"  # noqa: S108 - mkdtemp makes a folder of our own in it


class ScratchCluster:
    """An embedded PostgreSQL in a temporary folder that hands out databases from a template.

    `settings` are the server's own. `migrate` receives the owner's URL of the template, once.
    The cluster ends with the process.
    """

    def __init__(
        self,
        *,
        durable: bool,
        migrate: Callable[[str], None] | None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="bifold-test-", dir=_place(durable=durable)))
        self.server = EmbeddedPostgres(
            self._home / "postgres",
            self._home / "run",
            durable=durable,
            log_file=self._home / "postgres.log",
            extra_settings={"max_connections": str(CONNECTIONS_MAX), **(settings or {})},
        )
        self._numbers = itertools.count(1)
        self.server.start()
        try:
            self._execute("CREATE DATABASE {} OWNER bifold_owner", TEMPLATE)
            if migrate is not None:
                migrate(owner := self.server.url("bifold_owner", TEMPLATE))
                let_the_clock_move(owner)
        except BaseException:
            self.close()
            raise

    def create(self, *, bare: bool = False) -> ScratchDatabase:
        """A copy of the template; `bare`: with nothing in it."""
        name = f"{DATABASE}_{next(self._numbers)}"
        template = "template0" if bare else TEMPLATE
        # A copy of files costs half of what a copy by pages does, where no fsync is waited for.
        strategy = "wal_log" if self.server.durable else "file_copy"
        self._execute(
            f"CREATE DATABASE {{}} OWNER bifold_owner TEMPLATE {{}} STRATEGY {strategy}",
            name,
            template,
        )
        return ScratchDatabase(name, self.server)

    def copy(self, database: ScratchDatabase) -> ScratchDatabase:
        """A backup of it. Nobody may be connected."""
        name = f"{DATABASE}_{next(self._numbers)}"
        self._execute(
            "CREATE DATABASE {} OWNER bifold_owner TEMPLATE {} STRATEGY file_copy",
            name,
            database.name,
        )
        return ScratchDatabase(name, self.server)

    def put_back(self, database: ScratchDatabase, copy: ScratchDatabase) -> None:
        """The copy takes the database's place; nobody may be connected."""
        self.drop(database)
        self._execute("ALTER DATABASE {} RENAME TO {}", copy.name, database.name)

    def drop(self, database: ScratchDatabase) -> None:
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", database.name)

    def close(self) -> None:
        self.server.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def _execute(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.server.conninfo(), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

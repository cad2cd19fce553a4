"""A pytest plugin for the mutation campaign: the tests' cluster is the campaign's, already running.

Given by `-p`; where and from which template is in the environment. Only the server is shared: each
test still gets a database of its own. On the tree as it is, the plugin also writes down which
functions of the books each test enters, in Python and in SQL.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from types import FrameType

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import wallet
from bench.campaigns.mutation_plugin_names import MAP, SOCKET, TEMPLATE, TREE
from wallet.postgres import EmbeddedPostgres
from wallet.testing import databases

if not str(wallet.__file__).startswith(os.environ[TREE]):
    raise SystemExit(f"the tests would run on {wallet.__file__}, which is not the mutated copy")

BOOKS = tuple(f"{os.environ[TREE]}/wallet/{name}" for name in ("ledger/", "money.py"))
LEAVING_SECONDS = 2.0  # for a test's connections to end, which then tell what they called
entered: set[tuple[str, int]] = set()
called: set[str] = set()


class RunningCluster(databases.ScratchCluster):
    """As ScratchCluster, on a server that somebody else began and ends."""

    def __init__(self, *, durable: bool, migrate: Callable[[str], None] | None) -> None:
        del durable, migrate
        folder = Path(os.environ[SOCKET])
        self.server = EmbeddedPostgres(folder / "nowhere", folder)
        self.server.socket_dir = folder
        self._made: set[str] = set()

    def create(self, *, bare: bool = False) -> databases.ScratchDatabase:
        name = f"mutant_{os.getpid()}_{len(self._made)}"
        self._made.add(name)
        template = "template0" if bare else os.environ[TEMPLATE]
        self._execute(
            "CREATE DATABASE {} OWNER bifold_owner TEMPLATE {} STRATEGY file_copy", name, template
        )
        return databases.ScratchDatabase(name, self.server)

    def drop(self, database: databases.ScratchDatabase) -> None:
        if MAP in os.environ:
            called.update(_called_in(self.server, database.name))
        super().drop(database)

    def close(self) -> None:
        """The campaign's own end."""


def _called_in(server: EmbeddedPostgres, name: str) -> list[str]:
    """The database's functions that were called; what is called by SQL alone may be inlined."""
    conninfo = make_conninfo(server.conninfo(), dbname=name)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        until = time.monotonic() + LEAVING_SECONDS
        others = "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
        while connection.execute(others, (name,)).fetchone() and time.monotonic() < until:
            time.sleep(0.02)
        rows = connection.execute("SELECT DISTINCT funcname FROM pg_stat_user_functions")
        return [row[0] for row in rows.fetchall()]


def _enter(frame: FrameType, _event: str, _argument: object) -> None:
    code = frame.f_code
    if code.co_filename.startswith(BOOKS):
        entered.add((code.co_filename[len(os.environ[TREE]) + 1 :], code.co_firstlineno))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Writes down what the test enters."""
    if MAP not in os.environ:
        return (yield)
    entered.clear()
    called.clear()
    began = time.monotonic()
    threading.settrace(_enter)
    sys.settrace(_enter)
    try:
        return (yield)
    finally:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
        told = {
            "test": item.nodeid,
            "seconds": time.monotonic() - began,
            "entered": sorted(entered),
            "called": sorted(called),
        }
        with Path(os.environ[MAP]).open("a") as file:
            file.write(json.dumps(told) + "\n")


databases.ScratchCluster = RunningCluster  # type: ignore[misc]

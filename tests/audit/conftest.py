"""A healthy house, made once by its front door; each test breaks a copy of it."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from bench.campaigns.audit_world import tell
from chain.testing import AnvilProcess
from wallet.auditor.instance import Instance
from wallet.auditor.run import Report, audit, examine
from wallet.testing.databases import ScratchCluster

_numbers = itertools.count(1)


@dataclass
class Healthy:
    """The template that copies are made of, and its files."""

    name: str
    instance: Instance
    files: Path


@pytest.fixture(scope="session")
def healthy(cluster: ScratchCluster) -> Iterator[Healthy]:
    """Made by real flows: a chain, a bank, people over HTTP."""
    made = cluster.create()
    with tempfile.TemporaryDirectory(prefix="bifold-audit-") as folder, AnvilProcess() as anvil:
        files = Path(folder)
        instance = asyncio.run(tell(made, anvil.url, files))
        yield Healthy(made.name, instance, files)


@dataclass
class Broken:
    """The healthy books inside one transaction, which is rolled back: break them, then look."""

    connection: psycopg.Connection[Any]
    instance: Instance

    def plant(self, *statements: str) -> int:
        """As the superuser, with every trigger and foreign key asleep. Rows touched by the last."""
        self.connection.execute("SET LOCAL session_replication_role = replica")
        touched = [self.connection.execute(statement).rowcount for statement in statements]
        return touched[-1]

    def codes(self) -> set[str]:
        """What the auditor names, with its own rights and no more."""
        self.connection.execute("SET LOCAL ROLE bifold_audit")
        report = examine(self.connection, self.instance, ask_chain=False)
        return {finding.code for finding in report.findings}


@pytest.fixture
def broken(healthy: Healthy, cluster: ScratchCluster) -> Iterator[Broken]:
    with psycopg.connect(cluster.server.conninfo(database=healthy.name)) as connection:
        yield Broken(connection, healthy.instance)
        connection.rollback()


@dataclass
class Books:
    """A copy of the healthy books, for a test that commits."""

    name: str
    cluster: ScratchCluster
    instance: Instance
    files: Path

    def conninfo(self, role: str = "bifold_audit") -> str:
        return self.cluster.server.conninfo(role, self.name)

    def url(self, role: str = "bifold_app") -> str:
        return self.cluster.server.url(role, self.name)

    def plant(self, *statements: str) -> None:
        """As the superuser, with every trigger and foreign key asleep."""
        with psycopg.connect(self.cluster.server.conninfo(database=self.name)) as connection:
            connection.execute("SET session_replication_role = replica")
            for statement in statements:
                connection.execute(statement)

    def value(self, query: str) -> Any:
        with psycopg.connect(self.cluster.server.conninfo(database=self.name)) as connection:
            row = connection.execute(query).fetchone()
        assert row is not None
        return row[0]

    def audit(self, **options: Any) -> Report:
        options = {"ask_chain": False} | options
        return audit(self.conninfo(), options.pop("instance", self.instance), **options)

    def codes(self, **options: Any) -> set[str]:
        return {finding.code for finding in self.audit(**options).findings}


@pytest.fixture
def books(healthy: Healthy, cluster: ScratchCluster) -> Iterator[Books]:
    name = f"audited_{next(_numbers)}"
    statement = sql.SQL("CREATE DATABASE {} OWNER bifold_owner TEMPLATE {}")
    with psycopg.connect(cluster.server.conninfo(), autocommit=True) as connection:
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(healthy.name)))
    yield Books(name, cluster, healthy.instance, healthy.files)
    with psycopg.connect(cluster.server.conninfo(), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

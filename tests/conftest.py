"""What every test may ask for: a fresh database, a fresh chain, and no other network."""

from __future__ import annotations

import importlib
import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from wallet.testing.databases import ScratchCluster, ScratchDatabase

if TYPE_CHECKING:
    from chain.testing import AnvilProcess

# Data is made by real work (SQL, key derivation), whose time says nothing about the data.
settings.register_profile(
    "bifold",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("bifold")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under BIFOLD_REQUIRE_ALL=1 a skip is a failure: somebody promised the tools are there."""
    report = yield
    skipped = report.skipped and not hasattr(report, "wasxfail")
    if skipped and os.environ.get("BIFOLD_REQUIRE_ALL") == "1":
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} was skipped although everything is required: {call.excinfo}"
        )
    return report


def _migrate(url: str) -> None:
    importlib.import_module("wallet.migrate").upgrade(url)


@pytest.fixture(scope="session")
def cluster() -> Iterator[ScratchCluster]:
    """A PostgreSQL that forgets at power loss: fast, for all that does not test durability."""
    cluster = ScratchCluster(durable=False, migrate=_migrate)
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def durable_cluster() -> Iterator[ScratchCluster]:
    """A PostgreSQL with every durable setting on, as in service."""
    cluster = ScratchCluster(durable=True, migrate=_migrate)
    yield cluster
    cluster.close()


@pytest.fixture
def database(cluster: ScratchCluster) -> Iterator[ScratchDatabase]:
    """An empty database at the newest schema, this test's alone."""
    database = cluster.create()
    yield database
    cluster.drop(database)


@pytest.fixture
def durable_database(durable_cluster: ScratchCluster) -> Iterator[ScratchDatabase]:
    """The same on the durable cluster, for tests that kill the server."""
    database = durable_cluster.create()
    yield database
    durable_cluster.drop(database)


@pytest.fixture
def anvil() -> Iterator[AnvilProcess]:
    """An own Anvil, ready for requests; 0.2 s and 40 MB each."""
    from chain.testing import AnvilProcess

    with AnvilProcess() as process:
        yield process

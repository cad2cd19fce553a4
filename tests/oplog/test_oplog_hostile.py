"""The operator log against code that runs as the application, and an upgrade under its feet."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.errors import CheckViolation, InsufficientPrivilege

from wallet import migrate
from wallet.auditor.rooms.oplog import CHECKS
from wallet.testing.databases import ScratchCluster, ScratchDatabase
from wallet.testing.revisions import take_back

HALT = "UPDATE network_state SET halted_reason = {} WHERE network = 'local'"
BLOCKED = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"


@contextmanager
def _owner(database: ScratchDatabase) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.conninfo("bifold_owner"), autocommit=True) as owner:
        yield owner


@pytest.mark.parametrize(
    "prepare, deed",
    [
        # As JSON text each character takes six bytes: this would be more than a text can hold, and
        # the sealer, who takes lines in their order, would fail at this one for ever.
        ("SELECT 1", HALT.format("repeat(chr(1), 20000)")),
        ("SELECT set_config('bifold.actor', repeat('x', 20000), true)", HALT.format("'odd'")),
    ],
)  # fmt: skip
def test_no_line_is_longer_than_the_seal_can_read(
    database: ScratchDatabase, prepare: str, deed: str
) -> None:
    with psycopg.connect(database.conninfo()) as app:
        app.execute(
            "INSERT INTO network_state (network, chain_id, healthy) VALUES ('local', 1, true)"
        )
        app.execute(prepare.encode())
        with pytest.raises(CheckViolation):
            app.execute(deed.encode())


def test_what_is_not_kept_cannot_stop_an_operator(database: ScratchDatabase) -> None:
    """A JSON text ends at 256 MB, one of the database at a gigabyte."""
    with psycopg.connect(database.conninfo(), autocommit=True) as app:
        app.execute("INSERT INTO network_state (network) VALUES ('local')")
        app.execute("UPDATE network_state SET detail = repeat('x', 270000000)")
    with psycopg.connect(database.conninfo("bifold_operator"), autocommit=True) as operator:
        operator.execute(HALT.format("'odd'").encode())
        told = operator.execute("SELECT fields FROM operator_log ORDER BY seq DESC LIMIT 1")
        assert told.fetchone() == ({"halted_reason": "odd"},)


def test_the_log_s_numbers_are_its_own(database: ScratchDatabase) -> None:
    with psycopg.connect(database.conninfo()) as app, pytest.raises(InsufficientPrivilege):
        app.execute("SELECT nextval('operator_log_seq_seq')")


def test_what_commits_during_the_upgrade_is_told(cluster: ScratchCluster) -> None:
    """The upgrade waits for whoever is writing, and begins the log with what they wrote."""
    database = cluster.create()
    take_back(database, "r0050")
    upgrading = threading.Thread(target=migrate.upgrade, args=(database.owner_url,))
    with psycopg.connect(database.conninfo()) as app, _owner(database) as owner:
        app.execute(
            "INSERT INTO halted_tokens (network, asset, reason) VALUES ('local', 'X', 'odd')"
        )
        upgrading.start()
        while owner.execute(BLOCKED).fetchone() == (0,):
            assert upgrading.is_alive()
            time.sleep(0.05)
        app.commit()
        upgrading.join()
        off = [row for check in CHECKS for row in owner.execute(check.sql.encode()).fetchall()]
        told = owner.execute("SELECT action, object_id FROM operator_log").fetchall()
    assert (off, told) == ([], [("baseline", "local/X")])

"""Books that are older than the chain are sealed after the upgrade, and go on."""

from __future__ import annotations

import importlib.resources
import json

import psycopg
import pytest
from alembic.script import ScriptDirectory

from wallet.db import Database
from wallet.migrate import upgrade
from wallet.outbox import Relay
from wallet.seal import Sealer, verify
from wallet.testing.databases import ScratchCluster

BEFORE = "the_books_before"
BODY = {
    "postings": [
        {"account": "h1", "asset": "EUR", "amount": "-1"},
        {"account": "h2", "asset": "EUR", "amount": "1"},
    ],
    "outbox": [{"type": "x", "ref": "x"}],
}


def post(owner: psycopg.Connection[tuple[object, ...]], name: str) -> None:
    command = {**BODY, "entry": {"id": name, "kind": "x", "ref": "x"}}
    owner.execute("SELECT ledger_post(%s::jsonb)", (json.dumps([command]),))


@pytest.fixture
def revision_before() -> str:
    folder = importlib.resources.files("wallet.migrations")
    found = ScriptDirectory(str(folder)).get_revision("r0025").down_revision
    assert isinstance(found, str)
    return found


async def test_older_entries_and_events_are_sealed(
    cluster: ScratchCluster, revision_before: str
) -> None:
    server = cluster.server
    with psycopg.connect(server.conninfo(), autocommit=True) as root:
        root.execute(f"CREATE DATABASE {BEFORE} OWNER bifold_owner".encode())
    try:
        upgrade(server.url("bifold_owner", BEFORE), revision_before)
        with psycopg.connect(server.conninfo("bifold_owner", BEFORE), autocommit=True) as owner:
            owner.execute(
                "INSERT INTO accounts (id, path, asset, kind, side) VALUES"
                " ('h1', 'house:one:EUR', 'EUR', 'system', 'C'),"
                " ('h2', 'house:two:EUR', 'EUR', 'system', 'C')"
            )
            for number in range(5):
                post(owner, f"old{number}")
            owner.execute(
                "INSERT INTO events (seq, id, type, ref, data, created_at) SELECT n, 'evt_' || n,"
                " 'x', 'x', '{}', now() FROM generate_series(1, 3) n"
            )
        upgrade(server.url("bifold_owner", BEFORE))
        with psycopg.connect(server.conninfo("bifold_owner", BEFORE), autocommit=True) as owner:
            post(owner, "new")
        db = Database(server.url("bifold_app", BEFORE))
        assert await Relay(db).tick() == 6
        while await Sealer(db, batch=4).tick():
            continue
        async with db.snapshot() as session:
            checked = await verify(session)
        await db.dispose()
        assert (checked.links, checked.findings) == (1 + 6 + 9, [])
    finally:
        with psycopg.connect(server.conninfo(), autocommit=True) as root:
            root.execute(f"DROP DATABASE {BEFORE} WITH (FORCE)".encode())

"""A chain that was dumped and restored elsewhere is whole, refuses as before, and goes on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from wallet import outbox
from wallet.db import Database
from wallet.outbox import Notice, Relay
from wallet.postgres import binaries
from wallet.seal import Anchor, Sealer, head, verify
from wallet.testing.books import fund, new_principal
from wallet.testing.databases import ScratchDatabase

RESTORED = "restored_elsewhere"


def run(program: str, *arguments: str | Path) -> None:
    subprocess.run([binaries() / program, *arguments], check=True, capture_output=True, timeout=60)


async def write(db: Database) -> None:
    async with db.transaction() as session:
        await fund(session, await new_principal(session), 100)
        await outbox.put(session, Notice(None, "test.done", "x"))


async def seal(db: Database) -> None:
    await Relay(db).tick()
    await Sealer(db).tick()


async def test_a_restored_chain_goes_on(database: ScratchDatabase, tmp_path: Path) -> None:
    """Also what waited when the dump was made; the new server's numbers do not matter."""
    server, dump = database.server, tmp_path / "dump"
    db = Database(database.app_url)
    await write(db)
    await seal(db)
    await write(db)  # waits for its seal when the dump is made
    async with db.transaction() as session:
        before = await head(session)
    await db.dispose()
    url = server.conninfo("postgres", database.name)
    run("pg_dump", "-Fc", "-f", dump, "-d", url)
    with psycopg.connect(server.conninfo(), autocommit=True) as root:
        root.execute(f"CREATE DATABASE {RESTORED} OWNER bifold_owner".encode())
    try:
        url = server.conninfo("postgres", RESTORED)
        run("pg_restore", "--exit-on-error", "-d", url, dump)
        db = Database(server.url("bifold_app", RESTORED))
        await write(db)
        await seal(db)
        async with db.snapshot() as session:
            checked = await verify(session, anchors=[Anchor(before.seq, before.hash)])
            entries = await session.scalar(text("SELECT count(*) FROM entries"))
        await db.dispose()
        assert (entries, checked.links, checked.findings) == (3, 1 + 3 + 3, [])
        with (
            psycopg.connect(server.conninfo("bifold_owner", RESTORED)) as owner,
            pytest.raises(psycopg.Error) as refused,
        ):
            owner.execute("DELETE FROM seals")
        assert refused.value.sqlstate == "BF001"
    finally:
        with psycopg.connect(server.conninfo(), autocommit=True) as root:
            root.execute(f"DROP DATABASE IF EXISTS {RESTORED} WITH (FORCE)".encode())

"""The operator log: triggers write it, nobody else; with the change or not at all."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import text

from wallet import migrate, oplog, seal
from wallet.auditor.rooms.oplog import KEPT
from wallet.db import ACTOR, Database
from wallet.testing.databases import ScratchCluster, ScratchDatabase
from wallet.testing.revisions import take_back

BOUNDS = (
    "INSERT INTO float_bounds (network, asset, tier, low_minor, high_minor, set_by)"
    " VALUES ('local', 'ETH', 'hot', 1, {high}, 'ada')"
    " ON CONFLICT (network, asset, tier) DO UPDATE SET high_minor = {high}"
)


async def _set(db: Database, high: int, *, actor: str | None = None) -> None:
    token = ACTOR.set(actor)
    try:
        async with db.transaction() as session:
            await session.execute(text(BOUNDS.format(high=high)))
    finally:
        ACTOR.reset(token)


async def _told(db: Database, about: str | None = None) -> list[oplog.Line]:
    async with db.snapshot() as session:
        return await oplog.newest(session, limit=10, about=about)


async def test_a_decision_is_kept_with_who_made_it(operators: Database) -> None:
    await _set(operators, 2, actor="ada")
    await _set(operators, 3, actor="ben")
    await _set(operators, 3, actor="cyd")  # changes nothing

    second, first = await _told(operators)

    assert (first.action, first.object, first.object_id) == (
        "insert", "float_bounds", "local/ETH/hot",
    )  # fmt: skip
    assert (first.actor, first.role) == ("ada", "bifold_operator")
    assert first.changed["high_minor"] == (None, 2)
    assert (second.action, second.actor) == ("update", "ben")
    assert second.changed == {"high_minor": (2, 3)}
    assert [line.seq for line in await _told(operators, "ben")] == [second.seq]
    assert await _told(operators, "float_bounds") == [second, first]
    assert await _told(operators, "treasury_moves") == []


async def test_the_name_is_of_one_transaction(operators: Database) -> None:
    """The connection goes back to the pool; the next one to use it is somebody else."""
    await _set(operators, 2, actor="ada")
    await _set(operators, 3)
    second, first = await _told(operators)
    assert (first.actor, second.actor) == ("ada", None)


async def test_what_is_rolled_back_is_not_told(operators: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with operators.transaction() as session:
            await session.execute(text(BOUNDS.format(high=2)))
            raise ZeroDivisionError
    assert await _told(operators) == []


async def test_an_end_is_told_too(operators: Database, service: Database) -> None:
    """The service halts, an operator lets go on: both are in the log, by role."""
    async with service.transaction() as session:
        await session.execute(
            text("INSERT INTO halted_tokens (network, asset, reason) VALUES ('local', 'X', 'odd')")
        )
    async with operators.transaction() as session:
        await session.execute(text("DELETE FROM halted_tokens"))
    end, begin = await _told(operators, "local/X")
    assert (begin.action, begin.role) == ("insert", "bifold_app")
    assert (end.action, end.role) == ("delete", "bifold_operator")


@pytest.mark.parametrize("role", ["bifold_app", "bifold_operator", "bifold_audit"])
@pytest.mark.parametrize(
    "deed",
    [
        "INSERT INTO operator_log (action, object, object_id, fields)"
        " VALUES ('insert', 'cases', 'x', '{}')",
        "UPDATE operator_log SET actor = 'x'",
        "DELETE FROM operator_log",
        "TRUNCATE operator_log",
        "DELETE FROM unsealed_log",
        "ALTER TABLE float_bounds DISABLE TRIGGER float_bounds_logged",
    ],
)
def test_no_role_of_the_service_writes_it(database: ScratchDatabase, role: str, deed: str) -> None:
    with (
        psycopg.connect(database.conninfo(role)) as connection,
        pytest.raises(InsufficientPrivilege),
    ):
        connection.execute(deed.encode())


@pytest.mark.parametrize(
    "deed", ["UPDATE operator_log SET actor = 'x'", "DELETE FROM operator_log",
             "TRUNCATE operator_log"],
)  # fmt: skip
def test_nor_does_the_owner_change_it(database: ScratchDatabase, deed: str) -> None:
    with psycopg.connect(database.conninfo("bifold_owner")) as owner:
        owner.execute(BOUNDS.format(high=2).encode())
        with pytest.raises(psycopg.DatabaseError) as refused:
            owner.execute(deed.encode())
    assert refused.value.sqlstate == "BF001"


def test_the_auditor_asks_about_what_is_kept(database: ScratchDatabase) -> None:
    """Its own list, and the triggers' arguments."""
    with psycopg.connect(database.conninfo("bifold_owner")) as owner:
        kept = owner.execute(
            "SELECT c.relname, encode(t.tgargs, 'escape') FROM pg_trigger t"
            " JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid"
            " WHERE p.proname = 'operator_log_write'"
        ).fetchall()
    told = {table: tuple(arguments.split("\\000")[:2]) for table, arguments in kept}
    assert told == {table: (one.key, one.columns) for table, one in KEPT.items()}


COLUMNS = {
    "at": "at + interval '1 microsecond'", "role": "'bifold_owner'", "actor": "'eve'",
    "action": "'update'", "object": "'cases'", "object_id": "'local/ETH/warm'",
    "fields": "fields || '{\"set_by\": \"eve\"}'",
}  # fmt: skip


@pytest.mark.parametrize("column", COLUMNS)
async def test_the_seal_holds_every_column(
    operators: Database, database: ScratchDatabase, column: str
) -> None:
    await _set(operators, 2, actor="ada")
    await _set(operators, 3)
    assert await seal.Sealer(operators).tick() == 2
    assert await seal.Sealer(operators).tick() == 0
    async with operators.snapshot() as session:
        assert (await seal.verify(session)).findings == []
    with psycopg.connect(database.server.conninfo(database=database.name)) as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute(
            f"UPDATE operator_log SET {column} = {COLUMNS[column]} WHERE actor = 'ada'".encode()
        )
    async with operators.snapshot() as session:
        (found,) = (await seal.verify(session)).findings
    assert (found.subject, found.what) == ("log 1", "was altered after it was sealed")


async def test_a_line_outside_the_chain_is_named(
    operators: Database, database: ScratchDatabase
) -> None:
    await _set(operators, 2)
    with psycopg.connect(database.server.conninfo(database=database.name)) as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute("DELETE FROM unsealed_log")
    async with operators.snapshot() as session:
        (found,) = (await seal.verify(session)).findings
    assert (found.subject, found.what) == ("log 1", "was never sealed")


async def test_what_is_there_at_the_upgrade_begins_the_log(cluster: ScratchCluster) -> None:
    """Down, a row, up again: the row is its first line, and the revision comes back whole."""
    database = cluster.create()
    take_back(database, "r0050")
    with psycopg.connect(database.conninfo("bifold_owner")) as owner:
        owner.execute(BOUNDS.format(high=2).encode())
    migrate.upgrade(database.owner_url)
    with psycopg.connect(database.conninfo("bifold_audit")) as audit:
        lines = audit.execute(
            "SELECT action, object, object_id, fields -> 'high_minor' FROM operator_log"
        ).fetchall()
    assert lines == [("baseline", "float_bounds", "local/ETH/hot", 2)]


async def test_once_sealed_the_log_stays(operators: Database, database: ScratchDatabase) -> None:
    """Its links cannot be taken out of the chain, so the revision is not taken back."""
    await _set(operators, 2)
    await seal.Sealer(operators).tick()
    with pytest.raises(psycopg.DatabaseError, match="lines of the operator log are sealed"):
        take_back(database, "r0050")

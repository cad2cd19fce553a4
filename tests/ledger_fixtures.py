"""Small books, written as the tables' owner, past the poster and through it."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import psycopg
import pytest
from psycopg import sql

from wallet.testing.databases import ScratchDatabase

Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def owner(database: ScratchDatabase) -> Iterator[Connection]:
    """The owner of the tables, with two customers of 1000 and the house, all in EUR."""
    with psycopg.connect(database.conninfo("bifold_owner"), autocommit=True) as connection:
        connection.execute("INSERT INTO principals (id, kind) VALUES ('p1','user'), ('p2','user')")
        connection.execute(
            "INSERT INTO accounts (id, path, principal_id, asset, kind, side) VALUES"
            " ('a1','customer:p1:EUR','p1','EUR','customer','C'),"
            " ('a2','customer:p2:EUR','p2','EUR','customer','C'),"
            " ('u1','customer:p1:USD','p1','USD','customer','C'),"
            " ('h1','house:capital:EUR',NULL,'EUR','system','C'),"
            " ('h2','house:capital:USD',NULL,'USD','system','C')"
        )
        for number, account in enumerate(("a1", "a2")):
            assert post(connection, f"seed{number}", [("h1", -1000), (account, 1000)]) is None
        yield connection


@pytest.fixture
def app(database: ScratchDatabase, owner: Connection) -> Iterator[Connection]:
    """The running service's role, on the same books."""
    with psycopg.connect(database.conninfo("bifold_app"), autocommit=True) as connection:
        yield connection


def post(
    connection: Connection, entry: str, lines: list[tuple[str, object]], asset: str = "EUR"
) -> object:
    """The code that `ledger_post` answers for one entry."""
    command = {
        "entry": {"id": entry, "kind": "test", "ref": "test"},
        "postings": [{"account": a, "asset": asset, "amount": str(m)} for a, m in lines],
    }
    row = connection.execute(
        "SELECT code FROM ledger_post(%s::jsonb)", (orjson.dumps([command]).decode(),)
    ).fetchone()
    assert row is not None
    return row[0]


def insert_directly(
    connection: Connection,
    entry: str,
    lines: list[tuple[str, str, str]],
    *,
    with_entry: bool = True,
) -> None:
    """Write an entry past the poster: (account, asset, amount) a line, all in one INSERT."""
    with connection.transaction():
        if with_entry:
            connection.execute(
                "INSERT INTO entries (id, kind, ref, event_at) VALUES (%s, 'x', 'x', now())",
                (entry,),
            )
        rows = sql.SQL(",").join(
            sql.SQL("({})").format(sql.SQL(",").join(map(sql.Literal, (entry, *line))))
            for line in lines
        )
        connection.execute(
            sql.SQL("INSERT INTO postings (entry_id, account_id, asset, amount_minor) VALUES ")
            + rows
        )

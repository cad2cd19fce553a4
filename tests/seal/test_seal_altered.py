"""Whatever is changed behind the books' back, verification names the row, and the first one first.

Everything here is done by the one nobody can stop: a superuser with every trigger switched off.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text

from wallet import ledger
from wallet.db import Database, Session
from wallet.errors import WalletError
from wallet.ledger import accounts
from wallet.money import Money
from wallet.outbox import Notice, Relay
from wallet.seal import Anchor, Finding, Sealer, Verified, head, verify
from wallet.testing.books import EUR, fund, new_principal
from wallet.testing.databases import ScratchCluster, ScratchDatabase

# What a change of each type is: the smallest that there is.
CHANGES = {
    "text": "coalesce({0}, '') || 'x'",
    "bigint": "coalesce({0}, 0) + 1000000",
    "numeric": "coalesce({0}, 0) + 1",
    "jsonb": "{0} || '{{\"x\": 1}}'",
    "timestamp with time zone": "{0} + interval '1 microsecond'",
    "bytea": "set_byte({0}, 31, get_byte({0}, 31) # 1)",
}
COLUMNS = {
    "entries": ("id", "kind", "ref", "reverses", "meta", "event_at", "created_at"),
    "postings": (
        "id", "entry_id", "account_id", "asset", "amount_minor", "account_seq",
        "balance_after_minor", "created_at",
    ),
    "events": ("seq", "id", "principal_id", "type", "ref", "data", "created_at"),
    "seals": ("seq", "kind", "subject", "digest", "hash", "sealed_at"),
}  # fmt: skip


@pytest.fixture(scope="module")
def books(cluster: ScratchCluster) -> AsyncIterator[ScratchDatabase]:
    """One database for all of these: each change is rolled back."""
    database = cluster.create()
    yield database
    cluster.drop(database)


@pytest.fixture
async def root(books: ScratchDatabase) -> AsyncIterator[Database]:
    """Links 1 to 4 are entries: two credits, a transfer, its reversal; 5 and 6 are events."""
    db = Database(books.server.url("postgres", books.name))
    async with db.transaction() as session:
        if not await session.scalar(text("SELECT count(*) FROM entries")):
            await _write(session)
    await Relay(db).tick()
    await Sealer(db).tick()
    yield db
    await db.dispose()


async def _write(session: Session) -> None:
    ada, bob = await new_principal(session), await new_principal(session)
    await fund(session, ada, 1000)
    await fund(session, bob, 500)
    transfer = await ledger.post(
        session,
        ledger.Command(
            kind="transfer",
            ref="t:1,",
            meta={"note": "für 5:x,"},
            lines=[
                ledger.Line(accounts.customer(ada, "EUR"), Money(-30, EUR)),
                ledger.Line(accounts.customer(bob, "EUR"), Money(30, EUR)),
            ],
            notices=[Notice(ada, "test.done", "a", {"n": "€"}), Notice(None, "test.done", "b")],
        ),
    )
    assert transfer is not None
    await ledger.reverse(session, entry_id=transfer, reason="test")


@asynccontextmanager
async def tampering(root: Database) -> AsyncIterator[Session]:
    """A transaction in which nothing is refused, and that never happened."""
    async with root.session() as session:
        await session.execute(text("SET LOCAL session_replication_role = replica"))
        yield session
        await session.rollback()


async def sealed(session: Session, seq: int) -> str:
    return str(
        await session.scalar(text("SELECT subject FROM seals WHERE seq = :seq"), {"seq": seq})
    )


async def altered(root: Database, *statements: str) -> Verified:
    """What is found after these; `:one` to `:six` are the subjects of those links."""
    async with tampering(root) as session:
        names = ("one", "two", "three", "four", "five", "six")
        subjects = {name: await sealed(session, n) for n, name in enumerate(names, start=1)}
        for statement in statements:
            used = {name: value for name, value in subjects.items() if f":{name}" in statement}
            done = await session.execute(text(statement), used)
            assert done.rowcount != 0, statement
        return await verify(session)


async def test_untouched_books_are_whole(root: Database) -> None:
    async with root.snapshot() as session:
        checked = await verify(session)
    assert (checked.links, checked.seq, checked.findings) == (7, 6, [])


async def test_no_column_is_left_out_of_the_list(root: Database) -> None:
    """A column that somebody adds is sealed, or this is red."""
    async with root.transaction() as session:
        rows = await session.execute(
            text(
                "SELECT table_name, column_name FROM information_schema.columns"
                " WHERE table_schema = 'public' AND table_name = ANY(:tables)"
            ),
            {"tables": list(COLUMNS)},
        )
        assert {(row.table_name, row.column_name) for row in rows} == {
            (table, column) for table, columns in COLUMNS.items() for column in columns
        }


WHERE = {
    "entries": ("id = :three", 3, "entry"),
    "postings": ("entry_id = :three AND amount_minor > 0", 3, "entry"),
    "events": ("seq = 1", 5, "event"),
    "seals": ("seq = 3", 3, "entry"),
}


@pytest.mark.parametrize(
    ("table", "column"),
    [(table, column) for table, columns in COLUMNS.items() for column in columns],
)
async def test_a_changed_column_is_named(root: Database, table: str, column: str) -> None:
    where, seq, kind = WHERE[table]
    async with root.transaction() as session:
        type_ = await session.scalar(
            text(
                "SELECT data_type FROM information_schema.columns WHERE table_schema = 'public'"
                " AND table_name = :table AND column_name = :column"
            ),
            {"table": table, "column": column},
        )
    change = CHANGES[str(type_)].format(column).replace(":", r"\:")
    if (table, column) == ("seals", "kind"):
        change = "'event'"
    if (table, column) == ("postings", "entry_id"):
        change = ":one"
    if (table, column) == ("postings", "id"):
        change = "DEFAULT"  # the next number: PostgreSQL takes no other from anybody
    found = (await altered(root, f"UPDATE {table} SET {column} = {change} WHERE {where}")).findings
    if (table, column) == ("postings", "entry_id"):  # both entries are not what they were
        assert [one.seq for one in found] == [1, 3]
    elif (table, column) == ("seals", "seq"):
        assert (found[0].seq, found[0].what) == (4, "links 3 to 3 are missing")
    else:
        assert found[0].seq == seq
        assert column == "kind" or found[0].subject.startswith(kind)


@pytest.mark.parametrize(
    ("statements", "found"),
    [
        (["DELETE FROM events WHERE seq = 2"], (6, "is sealed and is not there any more")),
        (["DELETE FROM entries WHERE id = :two"], (2, "is sealed and is not there any more")),
        (["DELETE FROM postings WHERE entry_id = :two"], (2, "was altered after it was sealed")),
        (
            ["INSERT INTO postings (entry_id, account_id, asset, amount_minor)"
             " SELECT :two, id, 'EUR', 5 FROM accounts WHERE id NOT IN"
             " (SELECT account_id FROM postings WHERE entry_id = :two) LIMIT 1"],
            (2, "was altered after it was sealed"),
        ),
        (
            ["UPDATE postings SET amount_minor = -amount_minor WHERE entry_id = :one"],
            (1, "was altered after it was sealed"),
        ),
        (["DELETE FROM seals WHERE seq = 2"], (3, "links 2 to 2 are missing")),
        (["DELETE FROM seals WHERE seq = 5"], (6, "links 5 to 5 are missing")),
        (["DELETE FROM seals"], (None, "the chain has no beginning")),
        (
            ["UPDATE seals SET subject = 'another' WHERE seq = 0"],
            (0, "was altered after it was sealed"),
        ),
        (["DELETE FROM seals WHERE seq = 0"], (1, "links 0 to 0 are missing")),
        (
            ["DELETE FROM seals WHERE seq >= 4"],
            (None, "was never sealed"),
        ),
        (
            ["INSERT INTO entries (id, kind, ref, event_at) VALUES ('x', 'x', 'x', now())"],
            (None, "was never sealed"),
        ),
        (
            ["INSERT INTO entries (id, kind, ref, event_at, created_at)"
             " VALUES ('x', 'x', 'x', now(), now() - interval '2 minutes')",
             "INSERT INTO unsealed VALUES ('x')"],
            (None, "waits for its seal for too long"),
        ),
        (
            ["INSERT INTO events (seq, id, type, ref, data, created_at)"
             " VALUES (3, 'x', 'x', 'x', '{}', now() - interval '2 minutes')"],
            (None, "waits for its seal for too long"),
        ),
        (
            ["UPDATE seals SET subject = '3' WHERE seq = 6",
             "UPDATE events SET seq = 3 WHERE seq = 2"],
            (6, "event 2 should be sealed before it"),
        ),
    ],
)  # fmt: skip
async def test_what_is_gone_moved_or_put_in_is_named(
    root: Database, statements: list[str], found: tuple[int | None, str]
) -> None:
    first = (await altered(root, *statements)).findings[0]
    assert (first.seq, first.what) == found


async def test_each_altered_row_is_named_by_itself_in_the_chains_order(root: Database) -> None:
    checked = await altered(
        root,
        "UPDATE events SET ref = 'y' WHERE seq = 1",
        "UPDATE entries SET ref = 'y' WHERE id = :two",
    )
    assert [one.seq for one in checked.findings] == [2, 5]


REWRITE = """
WITH RECURSIVE walk AS (
    SELECT seq, digest, sealed_at, hash FROM seals WHERE seq = 1
    UNION ALL
    SELECT s.seq, d.digest, s.sealed_at, seal_link(w.hash, d.digest, s.seq, s.sealed_at)
      FROM walk w JOIN seals s ON s.seq = w.seq + 1, LATERAL (
          SELECT CASE s.kind WHEN 'entry'
                 THEN (SELECT sha256(content) FROM seal_entries WHERE id = s.subject)
                 ELSE (SELECT sha256(content) FROM seal_events WHERE seq = s.subject::bigint) END
                 AS digest) d)
UPDATE seals s SET digest = w.digest, hash = w.hash FROM walk w WHERE w.seq = s.seq
"""


async def test_a_chain_computed_anew_is_shown_by_a_head_written_down_outside(
    root: Database,
) -> None:
    """Who rewrites the books and the whole chain is caught by an anchor, and by nothing else."""
    async with root.snapshot() as session:
        before = await head(session)
    anchor = Anchor(before.seq, before.hash)
    async with tampering(root) as session:
        assert (await verify(session, anchors=[anchor])).findings == []
        await session.execute(
            text("UPDATE entries SET ref = 'y' WHERE id = :two"), {"two": await sealed(session, 2)}
        )
        await session.execute(text(REWRITE.replace("::", r"\:\:")))
        assert (await verify(session)).findings == []
        assert (await verify(session, anchors=[anchor])).findings == [
            Finding(6, "event 2", "is not the head that was written down outside")
        ]
        await session.execute(text("DELETE FROM seals WHERE seq = 6"))
        found = (await verify(session, anchors=[anchor])).findings
        assert found == [Finding(6, "head", "was written down outside and is not in the chain")]


async def test_a_refused_posting_is_not_sealed(root: Database) -> None:
    async with root.session() as session:
        ada = await new_principal(session)
        bob = await new_principal(session)
        with pytest.raises(WalletError):
            await ledger.post(
                session,
                ledger.Command(
                    kind="x",
                    ref="x",
                    lines=[
                        ledger.Line(accounts.customer(ada, "EUR"), Money(-1, EUR)),
                        ledger.Line(accounts.customer(bob, "EUR"), Money(1, EUR)),
                    ],
                ),
            )
        assert await session.scalar(text("SELECT count(*) FROM unsealed")) == 0
        await session.rollback()

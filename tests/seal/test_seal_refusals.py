"""What the database refuses of the chain: everything to the service, a break to the owner."""

from __future__ import annotations

from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest
from psycopg import errors

from wallet.testing.databases import ScratchDatabase

Connection = psycopg.Connection[tuple[object, ...]]
GOOD = (
    "INSERT INTO seals SELECT {seq}, 'entry', 'x', d, seal_link({before}, d, {seq}, now()), now()"
    " FROM sha256('x') d"
)
BEFORE = "(SELECT hash FROM seals ORDER BY seq DESC LIMIT 1)"


@pytest.fixture
def owner(database: ScratchDatabase) -> Iterator[Connection]:
    with psycopg.connect(database.conninfo("bifold_owner"), autocommit=True) as connection:
        connection.execute(
            "INSERT INTO accounts (id, path, asset, kind, side) VALUES"
            " ('h1', 'house:one:EUR', 'EUR', 'system', 'C'),"
            " ('h2', 'house:two:EUR', 'EUR', 'system', 'C')"
        )
        connection.execute(
            'SELECT ledger_post(\'[{"entry": {"id": "e1", "kind": "x", "ref": "x"},'
            ' "postings": [{"account": "h1", "asset": "EUR", "amount": "-1"},'
            ' {"account": "h2", "asset": "EUR", "amount": "1"}],'
            ' "outbox": [{"type": "x", "ref": "x"}]}]\')'
        )
        connection.execute("SELECT events_publish(ARRAY['evt_1'])")
        assert connection.execute("SELECT seal(10)").fetchone() == (2,)
        yield connection


class TestApplication:
    """The running service reads the chain and asks for the next link; nothing else."""

    @pytest.mark.parametrize(
        "statement",
        [
            "INSERT INTO seals SELECT 3, 'entry', 'x', digest, hash, now() FROM seals LIMIT 1",
            "UPDATE seals SET hash = digest",
            "DELETE FROM seals WHERE seq = 2",
            "TRUNCATE seals",
            "INSERT INTO unsealed VALUES ('e1')",
            "DELETE FROM unsealed",
            "UPDATE unsealed SET entry_id = 'x'",
            "TRUNCATE unsealed",
            "INSERT INTO events (seq, id, type, ref, data, created_at)"
            " VALUES (2, 'x', 'x', 'x', '{}', now())",
            "UPDATE events SET ref = 'y'",
            "DELETE FROM events",
            "TRUNCATE events",
            "DELETE FROM seal_entries",
            "UPDATE seal_entries SET id = 'x'",
            "DELETE FROM seal_events",
            "ALTER TABLE seals DISABLE TRIGGER ALL",
            "ALTER TABLE seals DISABLE TRIGGER seals_linked",
            "ALTER TABLE events DISABLE TRIGGER events_append_only",
            "ALTER TABLE entries DISABLE TRIGGER entries_await_seal",
            "DROP TRIGGER entries_await_seal ON entries",
            "CREATE OR REPLACE FUNCTION seal_check() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN RETURN NULL; END'",
            "DROP FUNCTION seal(integer)",
            "SET session_replication_role = replica",
            "SELECT 1 FROM seals WHERE seq = 0 FOR UPDATE",
            "BEGIN; LOCK TABLE seals IN EXCLUSIVE MODE",
        ],
    )
    def test_may_not(
        self, database: ScratchDatabase, owner: Connection, statement: LiteralString
    ) -> None:
        with (
            psycopg.connect(database.conninfo("bifold_app"), autocommit=True) as app,
            pytest.raises(errors.InsufficientPrivilege),
        ):
            app.execute(statement)

    def test_its_search_path_bends_neither_writer(
        self, database: ScratchDatabase, owner: Connection
    ) -> None:
        with psycopg.connect(database.conninfo("bifold_app"), autocommit=True) as app:
            app.execute("CREATE TEMP TABLE unsealed (entry_id text)")
            app.execute("CREATE TEMP TABLE outbox (id bigint, principal_id text, type text,"
                        " ref text, data jsonb, created_at timestamptz)")  # fmt: skip
            app.execute("INSERT INTO unsealed VALUES ('e1')")
            app.execute("INSERT INTO outbox VALUES (1, NULL, 'x', 'x', '{}', now())")
            app.execute("SET search_path = pg_temp, public")
            assert app.execute("SELECT public.events_publish(ARRAY['evt_9'])").fetchall() == []
            assert app.execute("SELECT public.seal(10)").fetchone() == (0,)


class TestAuditor:
    def test_reads_all_and_writes_nothing(
        self, database: ScratchDatabase, owner: Connection
    ) -> None:
        with psycopg.connect(database.conninfo("bifold_audit"), autocommit=True) as audit:
            assert audit.execute(
                "SELECT count(*) FROM seals s JOIN seal_entries e ON e.id = s.subject"
                " WHERE s.digest = sha256(e.content)"
            ).fetchone() == (1,)
            for statement in (
                "SELECT seal(1)",
                "SELECT events_publish(ARRAY['x'])",
                "DELETE FROM seals",
            ):
                with pytest.raises(errors.InsufficientPrivilege):
                    audit.execute(statement)


class TestOwner:
    """Triggers hold for the role that owns the tables too."""

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE seals SET sealed_at = now()", "DELETE FROM seals WHERE seq = 2",
            "TRUNCATE seals", "UPDATE events SET ref = 'y'", "DELETE FROM events",
            "TRUNCATE events",
        ],
    )  # fmt: skip
    def test_changes_nothing_that_is_written(
        self, owner: Connection, statement: LiteralString
    ) -> None:
        with pytest.raises(psycopg.Error) as refused:
            owner.execute(statement)
        assert refused.value.sqlstate == "BF001"

    @pytest.mark.parametrize(
        ("seq", "before", "code"),
        [
            (4, BEFORE, "BF008"),
            (-1, BEFORE, "BF008"),
            (3, "sha256('another')", "BF009"),
            (3, "decode(repeat('00', 32), 'hex')", "BF009"),
        ],
    )
    def test_adds_no_link_that_does_not_follow(
        self, owner: Connection, seq: int, before: str, code: str
    ) -> None:
        with pytest.raises(psycopg.Error) as refused:
            owner.execute(GOOD.format(seq=seq, before=before).encode())
        assert refused.value.sqlstate == code

    def test_a_link_that_follows_is_taken(self, owner: Connection) -> None:
        owner.execute(GOOD.format(seq=3, before=BEFORE).encode())

    def test_a_wrong_link_among_right_ones_is_refused(self, owner: Connection) -> None:
        with pytest.raises(psycopg.Error) as refused:
            owner.execute(
                "INSERT INTO seals SELECT 2 + n, 'entry', 'x' || n, d, CASE n WHEN 1 THEN"
                " seal_link((SELECT hash FROM seals WHERE seq = 2), d, 3, now()) ELSE d END, now()"
                " FROM sha256('x') d, generate_series(1, 2) n"
            )
        assert refused.value.sqlstate == "BF009"

    def test_nothing_is_sealed_twice(self, owner: Connection) -> None:
        owner.execute("INSERT INTO unsealed VALUES ('e1')")
        with pytest.raises(errors.UniqueViolation):
            owner.execute("SELECT seal(10)")

    @pytest.mark.parametrize("seqs", ["3", "2, 4", "1", "0", "-5"])
    def test_events_have_no_gap(self, owner: Connection, seqs: str) -> None:
        values = ", ".join(
            f"({seq.strip()}, 'x{seq.strip()}', 'x', 'x', '{{}}', now())" for seq in seqs.split(",")
        )
        with pytest.raises(psycopg.Error) as refused:
            owner.execute(
                b"INSERT INTO events (seq, id, type, ref, data, created_at) VALUES "
                + values.encode()
            )
        assert refused.value.sqlstate in {"BF008", "23505"}

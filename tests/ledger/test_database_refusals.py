"""What the database itself refuses, whoever asks and however the code above it errs."""

from __future__ import annotations

from typing import LiteralString

import orjson
import psycopg
import pytest
from psycopg import errors, sql

from tests.ledger_fixtures import Connection, app, insert_directly, owner, post
from wallet.testing.databases import ScratchDatabase

__all__ = ["app", "owner"]


class TestOwnerWritingPastThePoster:
    """The triggers and constraints hold for the role that owns the tables too."""

    def test_an_entry_that_is_off_by_one_is_refused(self, owner: Connection) -> None:
        with pytest.raises(psycopg.Error, match="off by 1 EUR") as refused:
            insert_directly(owner, "e1", [("a1", "EUR", "-5"), ("a2", "EUR", "6")])
        assert refused.value.sqlstate == "BF002"

    def test_a_one_sided_entry_is_refused(self, owner: Connection) -> None:
        with pytest.raises(psycopg.Error) as refused:
            insert_directly(owner, "e1", [("a2", "EUR", "5")])
        assert refused.value.sqlstate == "BF002"

    def test_balance_is_demanded_for_each_asset_apart(self, owner: Connection) -> None:
        with pytest.raises(psycopg.Error) as refused:
            insert_directly(owner, "e1", [("h1", "EUR", "-5"), ("h2", "USD", "5")])
        assert refused.value.sqlstate == "BF002"

    def test_a_balanced_entry_is_taken(self, owner: Connection) -> None:
        insert_directly(owner, "e1", [("a1", "EUR", "-5"), ("a2", "EUR", "5")])

    def test_a_second_set_of_postings_for_an_entry_is_refused(self, owner: Connection) -> None:
        insert_directly(owner, "e1", [("a1", "EUR", "-5"), ("a2", "EUR", "5")])
        with pytest.raises(psycopg.Error) as refused:
            insert_directly(
                owner, "e1", [("h1", "EUR", "-5"), ("h2", "EUR", "5")], with_entry=False
            )
        assert refused.value.sqlstate in {"BF003", "BF004"}
        owner.execute(
            "INSERT INTO accounts (id, path, asset, kind, side)"
            " VALUES ('h3', 'house:other:EUR', 'EUR', 'system', 'C')"
        )
        with pytest.raises(psycopg.Error) as again:
            insert_directly(
                owner, "e1", [("h1", "EUR", "-5"), ("h3", "EUR", "5")], with_entry=False
            )
        assert again.value.sqlstate == "BF003"

    def test_a_second_set_is_refused_in_the_same_transaction_too(self, owner: Connection) -> None:
        with pytest.raises(psycopg.Error) as refused, owner.transaction():
            insert_directly(owner, "e1", [("a1", "EUR", "-5"), ("a2", "EUR", "5")])
            insert_directly(
                owner, "e1", [("u1", "USD", "-5"), ("h2", "USD", "5")], with_entry=False
            )
        assert refused.value.sqlstate == "BF003"

    def test_an_entry_without_postings_is_refused_at_commit(self, owner: Connection) -> None:
        with pytest.raises(psycopg.Error) as refused:
            owner.execute(
                "INSERT INTO entries (id, kind, ref, event_at) VALUES ('e1', 'x', 'x', now())"
            )
        assert refused.value.sqlstate == "BF007"

    def test_an_asset_that_is_not_the_accounts_is_refused(self, owner: Connection) -> None:
        with pytest.raises(psycopg.Error) as refused:
            insert_directly(owner, "e1", [("a1", "USD", "-5"), ("u1", "USD", "5")])
        assert refused.value.sqlstate == "BF004"

    def test_a_closed_account_takes_part_in_nothing(self, owner: Connection) -> None:
        owner.execute("SELECT ledger_set_status('a2', 'closed')")
        for lines in (
            [("a1", "EUR", "-5"), ("a2", "EUR", "5")],
            [("a2", "EUR", "-5"), ("a1", "EUR", "5")],
        ):
            with pytest.raises(psycopg.Error) as refused:
                insert_directly(owner, "e1", lines)
            assert refused.value.sqlstate == "BF005"

    def test_a_frozen_account_receives_and_pays_nothing(self, owner: Connection) -> None:
        owner.execute("SELECT ledger_set_status('a2', 'frozen')")
        insert_directly(owner, "e1", [("a1", "EUR", "-5"), ("a2", "EUR", "5")])
        with pytest.raises(psycopg.Error) as refused:
            insert_directly(owner, "e2", [("a2", "EUR", "-5"), ("a1", "EUR", "5")])
        assert refused.value.sqlstate == "BF006"

    @pytest.mark.parametrize(
        ("amount", "error"),
        [
            ("NaN", psycopg.Error),
            ("Infinity", errors.NumericValueOutOfRange),
            ("-Infinity", errors.NumericValueOutOfRange),
            ("0", errors.CheckViolation),
            ("1e78", errors.NumericValueOutOfRange),
        ],
    )
    def test_an_amount_that_is_no_amount_is_refused(
        self, owner: Connection, amount: str, error: type[psycopg.Error]
    ) -> None:
        with pytest.raises(error):
            insert_directly(owner, "e1", [("a1", "EUR", amount), ("a2", "EUR", amount)])

    @pytest.mark.parametrize("table", ["entries", "postings"])
    @pytest.mark.parametrize(
        "statement",
        ["UPDATE {} SET created_at = now()", "DELETE FROM {}", "TRUNCATE {} CASCADE"],
    )
    def test_what_is_posted_stays_as_it_is(
        self, owner: Connection, table: str, statement: LiteralString
    ) -> None:
        with pytest.raises(psycopg.Error, match="append-only") as refused:
            owner.execute(sql.SQL(statement).format(sql.Identifier(table)))
        assert refused.value.sqlstate == "BF001"

    def test_emptying_the_accounts_does_not_reach_the_postings(self, owner: Connection) -> None:
        with pytest.raises(psycopg.Error, match=r"append-only|never deleted"):
            owner.execute("TRUNCATE accounts CASCADE")

    @pytest.mark.parametrize(
        "change",
        [
            "balance_minor = -1",
            "held_minor = 1001",
            "held_minor = -1",
            "balance_minor = 'NaN'",
            "held_minor = 'NaN'",
            "balance_minor = 'Infinity'",
            "kind = 'system'",
            "status = 'asleep'",
        ],
    )
    def test_a_customers_balance_covers_what_is_held(
        self, owner: Connection, change: LiteralString
    ) -> None:
        with pytest.raises((errors.CheckViolation, errors.NumericValueOutOfRange)):
            owner.execute(sql.SQL("UPDATE accounts SET {} WHERE id='a1'").format(sql.SQL(change)))

    def test_a_hold_gives_no_more_than_it_keeps(self, owner: Connection) -> None:
        owner.execute(
            "INSERT INTO holds (id, account_id, asset, kind, ref, amount_minor)"
            " VALUES ('x', 'a1', 'EUR', 'k', 'r', 10)"
        )
        for change in ("captured_minor = 11", "released_minor = 11", "status = 'closed'"):
            with pytest.raises(errors.CheckViolation):
                owner.execute(f"UPDATE holds SET {change} WHERE id = 'x'")

    def test_one_principal_has_one_account_an_asset(self, owner: Connection) -> None:
        with pytest.raises(errors.UniqueViolation):
            owner.execute(
                "INSERT INTO accounts (id, path, principal_id, asset, kind, side)"
                " VALUES ('a9','customer:p1:EUR:again','p1','EUR','customer','C')"
            )

    def test_an_entry_is_reversed_once(self, owner: Connection) -> None:
        insert_directly(owner, "e1", [("a1", "EUR", "-5"), ("a2", "EUR", "5")])
        with owner.transaction():
            owner.execute(
                "INSERT INTO entries (id, kind, ref, event_at, reverses)"
                " VALUES ('r1','reversal','x',now(),'e1')"
            )
            insert_directly(
                owner, "r1", [("a1", "EUR", "5"), ("a2", "EUR", "-5")], with_entry=False
            )
        with pytest.raises(errors.UniqueViolation):
            owner.execute(
                "INSERT INTO entries (id, kind, ref, event_at, reverses)"
                " VALUES ('r2','reversal','x',now(),'e1')"
            )


class TestApplicationRole:
    """The running service reads the books and writes them through the functions alone."""

    @pytest.mark.parametrize(
        "statement",
        [
            "INSERT INTO entries (id, kind, ref, event_at) VALUES ('e1','x','x',now())",
            "INSERT INTO postings (entry_id, account_id, asset, amount_minor)"
            " VALUES ('seed0','a1','EUR',-5), ('seed0','a2','EUR',5)",
            "INSERT INTO account_deltas (account_id, amount_minor) VALUES ('h1', 5)",
            "INSERT INTO holds (id, account_id, asset, kind, ref, amount_minor)"
            " VALUES ('x','a1','EUR','k','r',1)",
            "INSERT INTO accounts (id, path, asset, kind, side, balance_minor)"
            " VALUES ('z','z','EUR','system','C',5)",
            "INSERT INTO transfers (id, payer_id, payee_id, asset, amount_minor, entry_id)"
            " VALUES ('t','p1','p2','EUR',5,'seed0')",
            "UPDATE accounts SET balance_minor = 5000 WHERE id = 'a1'",
            "UPDATE accounts SET status = 'open'",
            "UPDATE entries SET kind = 'y'",
            "UPDATE postings SET amount_minor = 1",
            "UPDATE holds SET released_minor = 1",
            "UPDATE transfers SET amount_minor = 1",
            "UPDATE events SET type = 'y'",
            "UPDATE idempotency_answers SET body = ''",
            "UPDATE retired_handles SET handle = 'y'",
            "DELETE FROM retired_handles",
            "DELETE FROM accounts",
            "DELETE FROM account_deltas",
            "DELETE FROM entries",
            "DELETE FROM postings",
            "DELETE FROM holds",
            "DELETE FROM transfers",
            "DELETE FROM events",
            "DELETE FROM idempotency_answers",
            "TRUNCATE postings, entries, holds, transfers",
            "TRUNCATE accounts CASCADE",
            "ALTER TABLE postings DISABLE TRIGGER ALL",
            "ALTER TABLE entries DISABLE TRIGGER entries_append_only",
            "DROP TRIGGER postings_balanced ON postings",
            "SET session_replication_role = replica",
            "CREATE TABLE mine (x int)",
            "SET ROLE bifold_owner",
            "SELECT ledger_apply('{}')",
        ],
    )
    def test_has_no_other_way_to_write_them(
        self, app: Connection, statement: LiteralString
    ) -> None:
        with pytest.raises(errors.InsufficientPrivilege):
            app.execute(statement)

    def test_may_open_an_empty_account_and_post(self, app: Connection) -> None:
        app.execute(
            "INSERT INTO accounts (id, path, asset, kind, side)"
            " VALUES ('z','house:z:EUR','EUR','system','C')"
        )
        assert post(app, "e1", [("a1", -5), ("z", 5)]) is None

    def test_the_poster_cannot_be_bent_by_the_callers_search_path(self, app: Connection) -> None:
        app.execute("CREATE TEMP TABLE accounts (id text, kind text, status text)")
        app.execute("SET search_path = pg_temp, public")
        assert post(app, "e1", [("a1", -5), ("a2", 5)]) is None
        row = app.execute("SELECT balance_minor FROM public.accounts WHERE id = 'a1'").fetchone()
        assert row == (995,)


def test_the_auditor_reads_and_writes_nothing(database: ScratchDatabase, owner: Connection) -> None:
    with psycopg.connect(database.conninfo("bifold_audit"), autocommit=True) as audit:
        assert audit.execute("SELECT count(*) FROM postings").fetchone() == (4,)
        for statement in (
            "INSERT INTO principals (id, kind) VALUES ('p9', 'user')",
            "UPDATE users SET display_name = 'x'",
            "DELETE FROM sessions",
            "SELECT ledger_post('[]')",
            "SELECT ledger_fold(1)",
            "SELECT ledger_set_status('a1', 'closed')",
            "SELECT ledger_lock_hold('x')",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                audit.execute(statement)


class TestPosterAnswers:
    """`ledger_post` answers each bad command with its code and writes nothing of it."""

    @pytest.mark.parametrize(
        ("lines", "code"),
        [
            ([("a1", -5), ("a2", 6)], "unbalanced"),
            ([("a2", 5)], "unbalanced"),
            ([("a1", -1001), ("a2", 1001)], "insufficient_funds"),
            ([("a1", "NaN"), ("a2", "NaN")], "amount_malformed"),
            ([("a1", "Infinity"), ("a2", "-Infinity")], "amount_malformed"),
            ([("a1", "-0.5"), ("a2", "0.5")], "amount_malformed"),
            ([("h1", "-0.4"), ("a1", "-0.4"), ("a2", "0.8")], "amount_malformed"),
            ([("a1", 0), ("a2", 0)], "amount_malformed"),
            ([("a1", -5), ("nobody", 5)], "account_not_found"),
            ([("u1", -5), ("a2", 5)], "asset_mismatch"),
            ([("a1", -5), ("a1", 5)], "account_named_twice"),
            ([("a1", -5), ("a1", -5), ("a2", 10)], "account_named_twice"),
            ([], "no_postings"),
        ],
    )
    def test_with_a_code_and_no_row(
        self, app: Connection, lines: list[tuple[str, object]], code: str
    ) -> None:
        before = self.everything(app)
        assert post(app, "e1", lines) == code
        assert self.everything(app) == before

    @staticmethod
    def everything(connection: Connection) -> object:
        return connection.execute(
            "SELECT (SELECT array_agg(a ORDER BY a.id) FROM accounts a)::text,"
            " (SELECT count(*) FROM postings), (SELECT count(*) FROM entries),"
            " (SELECT count(*) FROM holds), (SELECT count(*) FROM account_deltas),"
            " (SELECT count(*) FROM outbox)"
        ).fetchall()

    def test_each_command_of_a_batch_by_itself(self, app: Connection) -> None:
        batch = [
            {
                "entry": {"id": f"b{number}", "kind": "test", "ref": "test"},
                "postings": [
                    {"account": "a1", "asset": "EUR", "amount": str(-amount)},
                    {"account": "a2", "asset": "EUR", "amount": str(amount)},
                ],
            }
            for number, amount in enumerate((600, 600, 400, 1))
        ]
        rows = app.execute(
            "SELECT n, code FROM ledger_post(%s::jsonb)", (orjson.dumps(batch).decode(),)
        ).fetchall()
        assert rows == [
            (0, None), (1, "insufficient_funds"), (2, None), (3, "insufficient_funds"),
        ]  # fmt: skip
        row = app.execute(
            "SELECT array_agg(balance_minor ORDER BY id) FROM accounts WHERE id IN ('a1', 'a2')"
        ).fetchone()
        assert row is not None
        assert row[0] == [0, 2000]

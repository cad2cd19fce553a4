"""What a row names is there, and stays: refused by the statement, to the tables' owner too."""

from __future__ import annotations

from typing import LiteralString

import psycopg
import pytest
from psycopg import errors

from tests.ledger_fixtures import Connection, insert_directly, owner

__all__ = ["owner"]


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM accounts WHERE id = 'h2'",
        "UPDATE accounts SET id = 'h9' WHERE id = 'h2'",
        "DELETE FROM principals WHERE id = 'p2'",
        "UPDATE principals SET id = 'p9' WHERE id = 'p2'",
        "TRUNCATE principals CASCADE",
    ],
)
def test_what_others_name_never_vanishes(owner: Connection, change: LiteralString) -> None:
    with pytest.raises(psycopg.Error, match=r"append-only|never deleted") as refused:
        owner.execute(change)
    assert refused.value.sqlstate == "BF001"


def test_postings_of_no_entry_are_refused(owner: Connection) -> None:
    with pytest.raises(errors.ForeignKeyViolation, match="no entry e1"):
        insert_directly(owner, "e1", [("a1", "EUR", "-5"), ("a2", "EUR", "5")], with_entry=False)


def test_a_posting_on_no_account_is_refused(owner: Connection) -> None:
    with pytest.raises(errors.ForeignKeyViolation, match="no account nobody"):
        insert_directly(owner, "e1", [("a1", "EUR", "-5"), ("nobody", "EUR", "5")])


@pytest.mark.parametrize(
    "row",
    [
        "INTO transfers (id, payer_id, payee_id, asset, amount_minor, entry_id)"
        " VALUES ('t1', 'p1', 'nobody', 'EUR', 5, 'e1')",
        "INTO transfers (id, payer_id, payee_id, asset, amount_minor, entry_id)"
        " VALUES ('t1', 'nobody', 'p1', 'EUR', 5, 'e1')",
        "INTO outbox (principal_id, type, ref) VALUES ('p1', 't', 'r'), ('nobody', 't', 'r')",
        "INTO idempotency_answers (principal_id, method, route, key, fingerprint, status, body)"
        " VALUES ('nobody', 'POST', '/', 'k', '\\x00', 200, '{}')",
    ],
)
def test_a_row_that_names_nobody_is_refused(owner: Connection, row: LiteralString) -> None:
    with pytest.raises(errors.ForeignKeyViolation):
        owner.execute(f"INSERT {row}")


def test_a_notice_may_be_to_nobody_in_particular(owner: Connection) -> None:
    owner.execute("INSERT INTO outbox (principal_id, type, ref) VALUES (NULL, 't', 'r')")


def test_an_entry_with_its_postings_in_one_statement_waits_for_no_check(owner: Connection) -> None:
    owner.execute(
        "WITH e AS (INSERT INTO entries (id, kind, ref, event_at)"
        "  VALUES ('e1', 'x', 'x', now()))"
        " INSERT INTO postings (entry_id, account_id, asset, amount_minor)"
        " VALUES ('e1', 'a1', 'EUR', -5), ('e1', 'a2', 'EUR', 5)"
    )
    insert_directly(owner, "e2", [("a1", "EUR", "-5"), ("a2", "EUR", "5")])
    seen = owner.execute("SELECT entry_id, posted FROM unsealed WHERE entry_id LIKE 'e_'")
    assert dict(seen.fetchall()) == {"e1": True, "e2": False}


def test_one_statement_with_an_entry_and_postings_of_another_is_refused(owner: Connection) -> None:
    insert_directly(owner, "e1", [("a1", "EUR", "-5"), ("a2", "EUR", "5")])
    with pytest.raises(psycopg.Error) as refused:
        owner.execute(
            "WITH e AS (INSERT INTO entries (id, kind, ref, event_at)"
            "  VALUES ('e2', 'x', 'x', now()))"
            " INSERT INTO postings (entry_id, account_id, asset, amount_minor)"
            " VALUES ('e1', 'h1', 'EUR', -5), ('e1', 'h2', 'EUR', 5)"
        )
    assert refused.value.sqlstate in {"BF003", "BF004"}

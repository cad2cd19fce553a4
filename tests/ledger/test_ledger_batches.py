"""A batch does exactly what its commands do one by one: the same answers, the same books."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wallet.testing.databases import ScratchCluster

PEOPLE = ("a0", "a1", "a2")
FROZEN, CLOSED, HOUSE, DOLLARS = "a3", "a4", "house", "usd"
HOLDS = ("hld_0", "hld_1", "hld_late")
START = 100
KINDS = ("move", "move", "move", "three", "open", "pay", "close", "odd")
ACCOUNTS = st.sampled_from((*PEOPLE, *PEOPLE, *PEOPLE, FROZEN, CLOSED, HOUSE, DOLLARS, "nobody"))
AMOUNT = st.one_of(st.integers(1, 60), st.sampled_from((0, 99, 100, 101, 10**80)))


@st.composite
def commands(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Transfers mostly, with holds, captures, reversals and plain nonsense between them."""
    made = []
    for n in range(draw(st.integers(2, 9))):
        kind = draw(st.sampled_from(KINDS))
        command: dict[str, Any] = {}
        amount = draw(AMOUNT)
        payer, payee = draw(ACCOUNTS), draw(ACCOUNTS)
        entry = {"id": f"ent_{n}", "kind": "test", "ref": "test"}
        if kind in {"move", "three"}:
            lines = [(payer, -amount), (payee, amount)]
            if kind == "three":
                lines = [(payer, -amount), (payee, amount - 1), (HOUSE, 1)]
            command = {"entry": entry, "postings": _lines(lines)}
        if kind == "open" or draw(st.integers(0, 9)) == 0:
            command["open"] = {
                "id": f"hld_new_{n}", "account": draw(ACCOUNTS), "asset": "EUR",
                "amount": str(draw(AMOUNT)), "kind": "test", "ref": "test",
                "most": draw(st.sampled_from((None, 3, 4))),
            }  # fmt: skip
        if kind in {"pay", "close"}:
            hold = draw(st.sampled_from((*HOLDS, "hld_none")))
            capture = draw(st.integers(0, 30)) if kind == "pay" else 0
            command["close"] = [
                {"hold": hold, "capture": str(capture), "release": str(draw(st.integers(0, 12)))}
            ]
            if draw(st.integers(0, 2)) == 0:
                command["close"][0]["kept"] = str(draw(st.sampled_from((20, 20, 15, 0))))
            if draw(st.integers(0, 9)) == 0:
                command["close"] *= 2
            spent = capture or draw(st.sampled_from((0, 5)))
            if spent and draw(st.integers(0, 9)):
                command["entry"] = entry
                command["postings"] = _lines([("a0", -spent), (payee, spent)])
        if kind == "odd":
            command = draw(
                st.sampled_from(
                    (
                        {},
                        {"entry": entry},
                        {"entry": entry, "postings": _lines([("a0", -1), ("a1", 2)])},
                        {"entry": {**entry, "reverses": "ent_fund"},
                         "postings": _lines([("a0", -START), (HOUSE, START)])},
                        {"postings": _lines([("a0", -1), ("a1", 1)])},
                    )
                )
            )  # fmt: skip
        made.append({**command, "outbox": [{"type": "test", "ref": str(n)}]})
    return made


def _lines(lines: list[tuple[str, int]]) -> list[dict[str, str]]:
    return [
        {"account": account, "asset": "USD" if account == DOLLARS else "EUR", "amount": str(minor)}
        for account, minor in lines
    ]


@pytest.fixture(scope="module")
def books(cluster: ScratchCluster) -> Iterator[psycopg.Connection[Any]]:
    """Three people with 100 each, two holds and one that is late, a frozen and a closed account."""
    database = cluster.create()
    with psycopg.connect(database.conninfo("bifold_owner")) as connection:
        connection.execute("INSERT INTO principals (id, kind) VALUES ('p', 'user')")
        for n in range(5):
            connection.execute("INSERT INTO principals (id, kind) VALUES (%s, 'user')", (f"p{n}",))
            connection.execute(
                "INSERT INTO accounts (id, path, principal_id, asset, kind, side)"
                " VALUES (%s, %s, %s, 'EUR', 'customer', 'C')",
                (f"a{n}", f"customer:p{n}:EUR", f"p{n}"),
            )
        connection.execute(
            "INSERT INTO accounts (id, path, asset, kind, side) VALUES"
            " ('house', 'house:capital:EUR', 'EUR', 'system', 'C'),"
            " ('usd', 'house:capital:USD', 'USD', 'system', 'C')"
        )
        fund = [
            {"entry": {"id": f"ent_fund{n or ''}", "kind": "fund", "ref": "fund"},
             "postings": _lines([(HOUSE, -START), (f"a{n}", START)])}
            for n in range(5)
        ]  # fmt: skip
        holds: list[dict[str, Any]] = [
            {"open": {"id": hold, "account": "a0", "asset": "EUR", "amount": "20", "kind": "test",
                      "ref": "test"}}
            for hold in HOLDS
        ]  # fmt: skip
        holds[1]["open"]["kind"] = "payment_hold"
        holds[2]["open"]["expires_at"] = "2020-01-01T00:00:00Z"
        assert _post(connection, [*fund, *holds]) == [None] * 8
        connection.execute("SELECT ledger_set_status('a3', 'frozen')")
        connection.execute("SELECT ledger_set_status('a4', 'closed')")
        connection.commit()
        yield connection
    cluster.drop(database)


def _post(connection: psycopg.Connection[Any], batch: list[dict[str, Any]]) -> list[str | None]:
    rows = connection.execute(
        "SELECT code FROM ledger_post(%s::jsonb)", (orjson.dumps(batch).decode(),)
    ).fetchall()
    return [code for (code,) in rows]


STATE = (
    "SELECT id, balance_minor, held_minor, posting_count FROM accounts WHERE kind = 'customer'"
    " ORDER BY id",
    "SELECT id, balance_minor FROM account_balances ORDER BY id",
    "SELECT account_id, sum(amount_minor), sum(lines) FROM account_deltas GROUP BY 1 ORDER BY 1",
    "SELECT id, kind, ref, reverses FROM entries ORDER BY id",
    "SELECT entry_id, account_id, asset, amount_minor, account_seq, balance_after_minor"
    " FROM postings ORDER BY entry_id, account_id",
    "SELECT id, account_id, amount_minor, captured_minor, released_minor, status,"
    " closed_at IS NULL FROM holds ORDER BY id",
    "SELECT hold_id, entry_id, account_id, amount_minor FROM hold_captures ORDER BY 1, 2",
    "SELECT type, ref FROM outbox ORDER BY id",
)


def _state(connection: psycopg.Connection[Any]) -> list[Any]:
    return [connection.execute(query).fetchall() for query in STATE]


@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(batch=commands())
def test_a_batch_is_its_commands_one_by_one(
    books: psycopg.Connection[Any], batch: list[dict[str, Any]]
) -> None:
    try:
        singly = [_post(books, [command])[0] for command in batch]
        expected = _state(books)
        books.rollback()
        together = _post(books, batch)
        found = _state(books)
    finally:
        books.rollback()
    assert together == singly
    assert found == expected


def test_a_run_of_good_commands_is_one_update_an_account(books: psycopg.Connection[Any]) -> None:
    """Fifty payments to one account: fifty postings in its chain, one new version of its row."""
    batch = [
        {"entry": {"id": f"ent_{n}", "kind": "test", "ref": "t"},
         "postings": _lines([("a1", -1), ("a2", 1)])}
        for n in range(50)
    ]  # fmt: skip
    try:
        before = _versions(books)
        assert _post(books, batch) == [None] * 50
        assert _versions(books) - before == 2
        chain = books.execute(
            "SELECT account_seq, balance_after_minor FROM postings WHERE account_id = 'a2'"
            " ORDER BY id"
        ).fetchall()
        assert chain == [(n + 1, START + n) for n in range(51)]
    finally:
        books.rollback()


def test_a_neighbour_that_is_refused_disturbs_nobody(books: psycopg.Connection[Any]) -> None:
    """Every third one overdraws: the others are done, in the order they came."""
    batch = [
        {"entry": {"id": f"ent_{n}", "kind": "test", "ref": "t"},
         "postings": _lines([("a1", -(1_000 if n % 3 == 1 else 1)),
                             ("a2", 1_000 if n % 3 == 1 else 1)])}
        for n in range(60)
    ]  # fmt: skip
    try:
        answers = _post(books, batch)
        assert answers == ["insufficient_funds" if n % 3 == 1 else None for n in range(60)]
        done = books.execute("SELECT entry_id FROM postings WHERE account_id = 'a1' ORDER BY id")
        assert [entry for (entry,) in done][1:] == [f"ent_{n}" for n in range(60) if n % 3 != 1]
    finally:
        books.rollback()


def _post_as(
    books: psycopg.Connection[Any], batch: list[dict[str, Any]], *, together: bool
) -> list[str | None]:
    """In one call, or in one for each."""
    return _post(books, batch) if together else [_post(books, [one])[0] for one in batch]


@pytest.mark.parametrize("together", [False, True])
def test_the_time_of_the_event_is_kept_as_told(
    books: psycopg.Connection[Any], together: bool
) -> None:
    """Apart from the time of writing; the house's own time where nothing was told."""
    told = [datetime(2026, 1, 2, 3, 4, n, 567, tzinfo=UTC) for n in range(6)]
    batch = [
        {"entry": {"id": f"ent_{n}", "kind": "test", "ref": "t"}
                  | ({"event_at": told[n].isoformat()} if n < len(told) else {}),
         "postings": _lines([("a0", -1), ("a1", 1)])}
        for n in range(len(told) + 1)
    ]  # fmt: skip
    try:
        assert _post_as(books, batch, together=together) == [None] * len(batch)
        rows = books.execute(
            "SELECT event_at, abs(extract(epoch FROM event_at - bifold_now())) < 60,"
            " abs(extract(epoch FROM created_at - clock_timestamp())) < 60"
            " FROM entries WHERE ref = 't' ORDER BY id"
        ).fetchall()
    finally:
        books.rollback()
    assert [at for at, _, _ in rows[:-1]] == told
    assert [is_now for _, is_now, _ in rows] == [False] * len(told) + [True]
    assert all(written_now for _, _, written_now in rows)


@pytest.mark.parametrize("together", [False, True])
def test_there_is_no_fraction_of_a_unit(books: psycopg.Connection[Any], together: bool) -> None:
    """The columns would round it: what one side lost would not be what the other side got."""
    good = {"entry": {"id": "ent_good", "kind": "test", "ref": "t"},
            "postings": _lines([("a0", -1), ("a1", 1)])}  # fmt: skip
    odd: list[dict[str, Any]] = [
        {"entry": {"id": "ent_odd", "kind": "test", "ref": "t"},
         "postings": [{"account": "a0", "asset": "EUR", "amount": "-1.5"},
                      {"account": "a1", "asset": "EUR", "amount": "1.5"}]},
        {"open": {"id": "hld_odd", "account": "a1", "asset": "EUR", "amount": "1.5",
                  "kind": "test", "ref": "t"}},
        {"close": [{"hold": "hld_0", "capture": "0", "release": "1.5"}]},
    ]  # fmt: skip
    try:
        before = _state(books)
        assert _post_as(books, odd, together=together) == ["amount_malformed"] * 3
        assert _state(books) == before
        assert _post_as(books, [good, *odd], together=together) == [None, *["amount_malformed"] * 3]
    finally:
        books.rollback()


@pytest.mark.parametrize("together", [False, True])
def test_a_hold_that_has_moved_is_not_closed(
    books: psycopg.Connection[Any], together: bool
) -> None:
    """Who closes it may say what it still keeps; where that is not so, somebody was faster."""
    part = {"hold": "hld_0", "capture": "0", "release": "5"}
    batch = [{"close": [part | {"kept": kept}]} for kept in ("21", "20", "20", "15")]
    try:
        answers = _post_as(books, batch, together=together)
        assert answers == ["hold_moved", None, "hold_moved", None]
        [kept] = books.execute(
            "SELECT amount_minor - captured_minor - released_minor FROM holds WHERE id = 'hld_0'"
        ).fetchall()
        assert kept == (10,)
    finally:
        books.rollback()


@pytest.mark.parametrize("together", [False, True])
def test_what_is_late_is_given_back_and_never_spent(
    books: psycopg.Connection[Any], together: bool
) -> None:
    batch = [
        {"close": [{"hold": "hld_late", "capture": "1", "release": "0"}],
         "entry": {"id": "ent_late", "kind": "test", "ref": "t"},
         "postings": _lines([("a0", -1), ("a1", 1)])},
        {"close": [{"hold": "hld_late", "capture": "0", "release": "20"}]},
    ]  # fmt: skip
    try:
        assert _post_as(books, batch, together=together) == ["hold_expired", None]
    finally:
        books.rollback()


@pytest.mark.parametrize("together", [False, True])
def test_postings_belong_to_an_entry(books: psycopg.Connection[Any], together: bool) -> None:
    batch: list[dict[str, Any]] = [
        {"postings": _lines([("a0", -1), ("a1", 1)])},
        {"entry": {"id": "ent_t", "kind": "test", "ref": "t"}},
        {"entry": {"id": "ent_u", "kind": "test", "ref": "t"}, "postings": []},
        {},
    ]
    try:
        before = _state(books)
        answers = _post_as(books, batch, together=together)
        assert answers == ["no_entry", "no_postings", "no_postings", None]
        assert _state(books) == before
    finally:
        books.rollback()


@pytest.mark.parametrize("together", [False, True])
def test_a_set_closes_no_more_than_earlier_ones_left(
    books: psycopg.Connection[Any], together: bool
) -> None:
    """Of 20, 15 were spent before the set came: 3, then 3 are one too many; 2 are not."""

    def spend(n: int, minor: int) -> dict[str, Any]:
        return {"close": [{"hold": "hld_0", "capture": str(minor), "release": "0"}],
                "entry": {"id": f"ent_spend{n}", "kind": "test", "ref": "t"},
                "postings": _lines([("a0", -minor), ("a1", minor)])}  # fmt: skip

    try:
        assert _post(books, [spend(0, 15)]) == [None]
        batch = [spend(1, 3), spend(2, 3), spend(3, 2)]
        answers = _post_as(books, batch, together=together)
        assert answers == [None, "hold_exceeded", None]
    finally:
        books.rollback()


def _versions(connection: psycopg.Connection[Any]) -> int:
    """Rows of `accounts` this transaction has rewritten."""
    row = connection.execute(
        "SELECT pg_stat_get_xact_tuples_updated('accounts'::regclass)"
    ).fetchone()
    assert row is not None
    return int(row[0])

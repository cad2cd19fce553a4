"""What the database asks of holds between people, in the words of the running service's role."""

from __future__ import annotations

from typing import Any

import orjson
import psycopg
import pytest
from psycopg import errors

from tests.ledger_fixtures import Connection, app, owner
from wallet.testing.databases import ScratchDatabase

__all__ = ["app", "owner"]


@pytest.fixture(autouse=True)
def hold(owner: Connection, app: Connection) -> str:
    """100 of p1 for p2; p3 is somebody else."""
    owner.execute("INSERT INTO principals (id, kind) VALUES ('p3', 'user')")
    owner.execute(
        "INSERT INTO accounts (id, path, principal_id, asset, kind, side)"
        " VALUES ('a3', 'customer:p3:EUR', 'p3', 'EUR', 'customer', 'C')"
    )
    make(app, "hld_1", "p1", "p2")
    return "hld_1"


def make(app: Connection, hold: str, payer: str, payee: str) -> None:
    """A hold of 100 on p1's or p2's account, between these people."""
    with app.transaction():
        assert post(app, opening(hold, f"a{payer[-1]}")) == [None]
        app.execute(
            "INSERT INTO payment_holds (id, payer_id, payee_id) VALUES (%s, %s, %s)",
            (hold, payer, payee),
        )


def opening(hold: str, account: str, asset: str = "EUR", **more: object) -> dict[str, Any]:
    return {
        "open": {
            "id": hold, "account": account, "asset": asset, "amount": "100",
            "kind": "payment_hold", "ref": hold, **more,
        }
    }  # fmt: skip


def entry(*lines: tuple[str, int], name: str = "e1") -> dict[str, Any]:
    return {
        "entry": {"id": name, "kind": "hold_capture", "ref": "r"},
        "postings": [{"account": a, "asset": "EUR", "amount": str(m)} for a, m in lines],
    }


def closing(hold: str, capture: int, release: int = 0) -> dict[str, str]:
    return {"hold": hold, "capture": str(capture), "release": str(release)}


def post(connection: Connection, *commands: dict[str, Any]) -> list[object]:
    rows = connection.execute(
        "SELECT code FROM ledger_post(%s::jsonb) ORDER BY n",
        (orjson.dumps(list(commands)).decode(),),
    )
    return [code for (code,) in rows.fetchall()]


def books(connection: Connection) -> object:
    return connection.execute(
        "SELECT (SELECT array_agg((id, balance_minor) ORDER BY id)::text FROM accounts),"
        " (SELECT array_agg((id, captured_minor, released_minor) ORDER BY id)::text FROM holds),"
        " (SELECT count(*) FROM entries), (SELECT count(*) FROM hold_captures)"
    ).fetchone()


ELSEWHERE = [
    [("a1", -60), ("a3", 60)],
    [("a1", -60), ("h1", 60)],
    [("a1", -60), ("a2", 59), ("a3", 1)],
    [("a1", -60), ("a2", 60), ("h1", -5), ("a3", 5)],
    [("a1", -60), ("a2", 70), ("h1", -10)],
]


class TestCapture:
    def test_by_the_payee_is_taken_in_parts(self, app: Connection, hold: str) -> None:
        for n, minor in enumerate((60, 40)):
            paid = entry(("a1", -minor), ("a2", minor), name=f"e{n}")
            assert post(app, {**paid, "close": [closing(hold, minor)]}) == [None]
        assert app.execute("SELECT status FROM holds").fetchone() == ("closed",)

    @pytest.mark.parametrize("lines", ELSEWHERE)
    @pytest.mark.parametrize("beside", [0, 1])
    def test_that_pays_anybody_else_is_refused(
        self, app: Connection, hold: str, lines: list[tuple[str, int]], beside: int
    ) -> None:
        before = books(app)
        wrong = {**entry(*lines), "close": [closing(hold, 60)]}
        others = [entry(("a1", -1), ("a2", 1), name="e2")] * beside
        with pytest.raises(psycopg.Error, match="from payer to payee") as refused:
            post(app, *others, wrong)
        assert refused.value.sqlstate == "BF012"
        assert books(app) == before

    def test_of_two_holds_pays_each_payee_their_own(self, app: Connection, hold: str) -> None:
        make(app, "hld_2", "p2", "p3")
        both = [closing(hold, 60), closing("hld_2", 40)]
        with pytest.raises(psycopg.Error) as refused:
            post(app, {**entry(("a1", -60), ("a2", -40), ("a3", 100)), "close": both})
        assert refused.value.sqlstate == "BF012"
        make(app, "hld_3", "p1", "p3")
        both = [closing(hold, 60), closing("hld_3", 40)]
        assert post(app, {**entry(("a1", -100), ("a2", 60), ("a3", 40)), "close": both}) == [None]

    def test_of_a_hold_that_names_no_payee_is_refused(self, app: Connection) -> None:
        assert post(app, opening("hld_2", "a1")) == [None]
        with pytest.raises(psycopg.Error) as refused:
            post(app, {**entry(("a1", -60), ("a2", 60)), "close": [closing("hld_2", 60)]})
        assert refused.value.sqlstate == "BF012"

    def test_of_more_than_is_left_is_refused(self, app: Connection, hold: str) -> None:
        paid = {**entry(("a1", -60), ("a2", 60)), "close": [closing(hold, 60)]}
        assert post(app, paid) == [None]
        more = {**entry(("a1", -41), ("a2", 41), name="e2"), "close": [closing(hold, 41)]}
        before = books(app)
        assert post(app, more) == ["hold_exceeded"]
        assert post(app, {"close": [closing(hold, 0)]}, more) == [None, "hold_exceeded"]
        assert books(app) == before

    def test_cannot_be_made_by_renaming_the_payee(self, app: Connection) -> None:
        with pytest.raises(errors.InsufficientPrivilege):
            app.execute("UPDATE payment_holds SET payee_id = 'p3'")
        with pytest.raises(errors.InsufficientPrivilege):
            app.execute("DELETE FROM payment_holds")


class TestGivingBack:
    def test_lowers_what_is_held_on_the_payers_account(self, app: Connection, hold: str) -> None:
        assert post(app, {"close": [closing(hold, 0, 100)]}) == [None]
        assert app.execute(
            "SELECT balance_minor, held_minor FROM accounts WHERE id = 'a1'"
        ).fetchone() == (1000, 0)

    @pytest.mark.parametrize("beside", [0, 1])
    @pytest.mark.parametrize(("capture", "payee"), [(0, "a3"), (0, "a2"), (60, "a2")])
    def test_to_somebody_else_is_refused(
        self, app: Connection, hold: str, beside: int, capture: int, payee: str
    ) -> None:
        """Nor does a capture grow by what is given back beside it."""
        others = [entry(("h1", -1), ("a3", 1), name="e2")] * beside
        wrong = {
            **entry(("a1", -100), (payee, 100)),
            "close": [closing(hold, capture, 100 - capture)],
        }
        assert post(app, *others, wrong) == [*[None] * beside, "capture_not_posted"]


class TestMaking:
    @pytest.mark.parametrize(
        ("account", "kind"), [("a2", "payment_hold"), ("a1", "withdrawal")]
    )  # fmt: skip
    def test_is_on_an_account_of_the_payer(self, app: Connection, account: str, kind: str) -> None:
        assert post(app, opening("hld_2", account, kind=kind)) == [None]
        with pytest.raises(psycopg.Error, match="not on an account of its payer") as refused:
            app.execute(
                "INSERT INTO payment_holds (id, payer_id, payee_id) VALUES ('hld_2', 'p1', 'p3')"
            )
        assert refused.value.sqlstate == "BF011"

    def test_the_bound_counts_what_the_same_batch_opens_without_one(self, app: Connection) -> None:
        batch = [opening("hld_2", "a1"), opening("hld_3", "a1", most=2)]
        assert post(app, *batch) == [None, "rate_limited"]

    def test_beyond_the_bound_is_refused_in_every_asset(
        self, app: Connection, owner: Connection
    ) -> None:
        owner.execute("SELECT ledger_post(%s::jsonb)", (orjson.dumps([FUND_DOLLARS]).decode(),))
        wanted = [opening(f"hld_{n}", "a1", most=3) for n in range(2, 5)]
        wanted.insert(1, opening("hld_usd", "u1", "USD", most=3))
        assert post(app, *wanted) == [None, None, "rate_limited", "rate_limited"]
        assert post(app, wanted[2]) == ["rate_limited"]
        # Neither somebody else nor a hold of another kind is counted.
        assert post(app, opening("hld_5", "a2", most=1)) == [None]
        assert post(app, opening("wdr_1", "a1", kind="withdrawal", most=1)) == [None]
        assert post(app, {"close": [closing("hld_usd", 0, 100)]}, *wanted[2:]) == [
            None, None, "rate_limited",
        ]  # fmt: skip

    def test_waits_for_the_payers_other_openings(
        self, app: Connection, owner: Connection, database: ScratchDatabase
    ) -> None:
        """Two at once in two assets would each not see the other."""
        owner.execute("SELECT ledger_post(%s::jsonb)", (orjson.dumps([FUND_DOLLARS]).decode(),))
        dollars = opening("hld_usd", "u1", "USD", most=2)
        with psycopg.connect(database.conninfo("bifold_app"), autocommit=True) as rival:
            rival.execute("SET lock_timeout = '200ms'")
            with app.transaction():
                assert post(app, opening("hld_2", "a1", most=2)) == [None]
                with pytest.raises(errors.LockNotAvailable):
                    post(rival, dollars)
            assert post(rival, dollars) == ["rate_limited"]


FUND_DOLLARS = {
    "entry": {"id": "usd", "kind": "fund", "ref": "r"},
    "postings": [
        {"account": "h2", "asset": "USD", "amount": "-1000"},
        {"account": "u1", "asset": "USD", "amount": "1000"},
    ],
}

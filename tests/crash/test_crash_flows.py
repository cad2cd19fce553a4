"""Every flow dies at every commit and around every external call; nothing is lost or doubled.

One plain run of a flow counts its crash points. Then, for each chosen point, a child dies there by
SIGKILL, a second child sends the same request with the same idempotency key and works until the
end, and the books, the chain and the bank are judged from outside. A second test lets the second
child die too. CI samples by seed (`BIFOLD_CRASH_SEED`, `BIFOLD_CRASH_CASES`); `./dev campaign` runs
all points.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import secrets
import sys
import tomllib
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chain.testing import AnvilProcess
from wallet.testing.databases import ScratchCluster

_spec = importlib.util.spec_from_file_location("crash_lab", Path(__file__).with_name("lab.py"))
assert _spec is not None
assert _spec.loader is not None
crash_lab = importlib.util.module_from_spec(_spec)
sys.modules["crash_lab"] = crash_lab
_spec.loader.exec_module(crash_lab)

CLAIMED = tomllib.loads(Path(__file__).with_name("points.toml").read_text())["flows"]
CAMPAIGN = os.environ.get("BIFOLD_CAMPAIGN") == "1"
SEED = int(os.environ.get("BIFOLD_CRASH_SEED", "1"))
PARTS = int(os.environ.get("BIFOLD_CRASH_PARTS", "1"))  # that a flow's points are divided into
TOLD = os.environ.get("BIFOLD_CRASH_TOLD")  # a file for the campaign's figures
CASES = int(os.environ.get("BIFOLD_CRASH_CASES", "2"))
RECOVERIES = max(1, CASES // 3)  # deaths that are followed by another, in CI
OCCURRENCES = 5  # of one point in one run: later passes of a loop repeat the earlier ones
CLABE = "032180000118359719"
PAYMENT_ENDS = ["completed", "returned", "failed", "cancelled"]
WITHDRAWAL_ENDS = ["settled", "failed", "cancelled", "in_review"]

pytestmark = [pytest.mark.crash, pytest.mark.timeout(3600 if CAMPAIGN else 600)]


@dataclass
class Case:
    """One request with a key of its own, and what must be true in the end."""

    method: str
    path: str
    body: dict[str, Any]
    follow: dict[str, Any] | None
    verify: Callable[[dict[str, Any]], None]
    token: str = ""  # whose request; Ada's where nothing is said


@pytest.fixture(scope="module")
def lab(cluster: ScratchCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    database = cluster.create()
    with AnvilProcess() as anvil:
        made = crash_lab.Lab(
            database_url=database.app_url,
            conninfo=database.conninfo("bifold_owner"),
            rpc_url=anvil.url,
            home=tmp_path_factory.mktemp("house"),
        )
        try:
            made.open()
            yield made
        finally:
            made.close()
    cluster.drop(database)


def transfer(lab: Any) -> Case:
    note = secrets.token_hex(8)

    def verify(answer: dict[str, Any]) -> None:
        rows = lab.rows("SELECT id, amount_minor FROM transfers WHERE note = %(note)s", note=note)
        assert [int(row["amount_minor"]) for row in rows] == [1_250_000]
        assert answer["body"]["id"] == rows[0]["id"]

    body = {"to": "ben@example.org", "money": {"amount": "1.25", "asset": "USDC"}, "note": note}
    return Case("POST", "/v1/transfers", body, None, verify)


def _quote(lab: Any, *before: Any, **terms: Any) -> list[dict[str, Any]]:
    """Answers to Ada's requests `before`, and a fresh quote of hers, in one life."""
    lab.stamp_rates()
    token = lab.people["ada"]["token"]
    return list(lab.ask(*before, crash_lab.Request("/v1/quotes", terms, token)))


def conversion(lab: Any) -> Case:
    [made] = _quote(
        lab, source_asset="USDC", target_asset="EUR", source_amount="3.000000", kind="conversion"
    )
    quote = made["id"]

    def verify(answer: dict[str, Any]) -> None:
        rows = lab.rows("SELECT id, entry_id FROM conversions WHERE quote_id = %(q)s", q=quote)
        assert [row["id"] for row in rows] == [answer["body"]["id"]]

    return Case("POST", "/v1/conversions", {"quote_id": quote}, None, verify)


def payment(lab: Any) -> Case:
    about = {"type": "clabe", "name": "Lucía Hernández", "country": "MX", "clabe": CLABE}
    person, made = _quote(
        lab,
        crash_lab.Request("/v1/recipients", about, lab.people["ada"]["token"]),
        source_asset="EUR",
        target_asset="MXN",
        source_amount="10.00",
        kind="payment",
        corridor="EUR-MX",
    )
    quote = made["id"]

    def verify(answer: dict[str, Any]) -> None:
        assert answer["end"]["status"] == "completed", answer["end"]
        rows = lab.rows("SELECT id FROM payments WHERE quote_id = %(q)s", q=quote)
        assert [row["id"] for row in rows] == [answer["body"]["id"]]
        paid = lab.rows(
            "SELECT p.reference, count(s.*) AS lines, sum(s.amount_minor) AS amount, p.amount_minor"
            " FROM payouts p LEFT JOIN simbank.statement s ON s.reference = p.reference"
            " WHERE p.ref = %(ref)s GROUP BY p.reference",
            ref=answer["body"]["id"],
        )
        assert len(paid) == 1, paid
        assert int(paid[0]["lines"]) == 1, f"the bank paid {paid[0]['lines']} times"
        assert abs(int(paid[0]["amount"])) == int(paid[0]["amount_minor"])

    body = {"quote_id": quote, "recipient_id": person["id"], "purpose": "family_support"}
    follow = {"path": "/v1/payments/{id}", "until": PAYMENT_ENDS}
    return Case("POST", "/v1/payments", body, follow, verify)


def _withdrawal(lab: Any, asset: str, amount: str, minor: int) -> Case:
    outside = "0x" + secrets.token_hex(20)

    def verify(answer: dict[str, Any]) -> None:
        assert answer["end"]["status"] == "settled", answer["end"]
        assert lab.on_chain(outside, asset) == minor
        rows = lab.rows(
            "SELECT i.nonce, count(DISTINCT a.raw) FILTER (WHERE a.kind = 'pay') AS bytes"
            " FROM chain_intents i JOIN chain_attempts a ON a.intent_id = i.id"
            " WHERE lower(i.to_address) = %(to)s GROUP BY i.id, i.nonce",
            to=outside,
        )
        assert [int(row["bytes"]) for row in rows] == [1], rows

    body = {"network": "local", "money": {"amount": amount, "asset": asset}, "to_address": outside}
    follow = {"path": "/v1/withdrawals/{id}", "until": WITHDRAWAL_ENDS}
    return Case("POST", "/v1/withdrawals", body, follow, verify)


def withdrawal_native(lab: Any) -> Case:
    return _withdrawal(lab, "ETH", "0.001000000000000000", 10**15)


def withdrawal_token(lab: Any) -> Case:
    return _withdrawal(lab, "USDC", "2.000000", 2 * 10**6)


def deposit(lab: Any) -> Case:
    """Somebody new is paid on chain; the request only gives the scanner time to find it."""
    minor = secrets.randbelow(10**6) + 1
    person, token, address = lab.newcomer()
    lab.send_token(address, minor)

    def verify(answer: dict[str, Any]) -> None:
        rows = lab.rows(
            "SELECT d.id, count(p.*) AS lines, sum(p.amount_minor) AS amount FROM deposits d"
            " LEFT JOIN entries e ON e.ref = d.id LEFT JOIN postings p ON p.entry_id = e.id"
            " AND p.amount_minor > 0 WHERE d.principal_id = %(who)s GROUP BY d.id",
            who=person,
        )
        assert [(int(row["lines"]), int(row["amount"])) for row in rows] == [(1, minor)], rows
        assert answer["end"]["data"][0]["id"] == rows[0]["id"]

    follow = {"path": "/v1/deposits", "until": ["credited"], "count": 1}
    return Case("GET", "/v1/balances", None, follow, verify, token)


def capture(lab: Any) -> Case:
    """Ben sets money aside for Ada before; Ada takes all of it."""
    ada, ben = lab.people["ada"], lab.people["ben"]
    money = {"amount": "0.50", "asset": "USDC"}
    _given, hold = lab.ask(
        crash_lab.Request("/v1/transfers", {"to": "ben@example.org", "money": money}, ada["token"]),
        crash_lab.Request(
            "/v1/holds",
            {"to": "ada@example.org", "money": money, "expires_in_seconds": 86_400},
            ben["token"],
        ),
    )
    id_ = hold["id"]

    def verify(_answer: dict[str, Any]) -> None:
        rows = lab.rows(
            "SELECT h.status, h.captured_minor, count(c.*) AS times FROM holds h"
            " LEFT JOIN hold_captures c ON c.hold_id = h.id WHERE h.id = %(id)s GROUP BY h.id",
            id=id_,
        )
        assert [(r["status"], int(r["captured_minor"]), int(r["times"])) for r in rows] == [
            ("closed", 500_000, 1)
        ]

    return Case("POST", f"/v1/holds/{id_}/capture", {}, None, verify)


FLOWS = [transfer, capture, conversion, payment, deposit, withdrawal_native, withdrawal_token]
RECOVERING = FLOWS if CAMPAIGN else [transfer, payment, withdrawal_token]
"""The others recover by the same loops; the campaign interrupts them all."""


def play(lab: Any, case: Case, crash: tuple[str, int] | None, key: str) -> dict[str, Any]:
    return dict(
        lab.run(
            case.method,
            case.path,
            case.body,
            token=case.token or lab.people["ada"]["token"],
            key=key if case.method == "POST" else None,
            follow=case.follow,
            crash=crash,
        )
    )


def end_well(lab: Any, case: Case, answer: dict[str, Any]) -> None:
    assert answer["status"] in (200, 201, 202), answer
    assert not answer.get("timeout"), f"not at its end: {answer['end']}"
    case.verify(answer)
    lab.assert_sound()


def points(seen: dict[str, int]) -> list[tuple[str, int]]:
    return [
        (name, n)
        for name, times in sorted(seen.items())
        for n in range(1, min(times, OCCURRENCES) + 1)
    ]


def tell(flow: Any, wrong: str = "", **counts: int) -> None:
    """Figures of one test, or what is wrong, for whoever reads the output and for the campaign."""
    print(f"{flow.__name__}: {wrong or counts}")
    if TOLD is not None:
        with open(TOLD, "a") as file:
            file.write(json.dumps({"flow": flow.__name__, "wrong": wrong, "counts": counts}) + "\n")


@contextmanager
def told_if_wrong(flow: Any) -> Iterator[None]:
    """Whatever it is, as soon as it is known: of a long campaign nobody waits for the end."""
    try:
        yield
    except BaseException as error:
        tell(flow, f"{type(error).__name__}: {error}"[:2_000])
        raise


def part_of(point: tuple[str, int]) -> int:
    """By its name: each part counts the points anew, and some loops come by more often."""
    return zlib.crc32(f"{point[0]}/{point[1]}".encode()) % PARTS


in_parts = pytest.mark.parametrize("part", range(PARTS), ids=lambda part: f"part{part}")


@in_parts
@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.__name__)
def test_a_flow_that_dies_anywhere_ends_once_and_whole(lab: Any, flow: Any, part: int) -> None:
    with told_if_wrong(flow):
        dies_anywhere(lab, flow, part)


def dies_anywhere(lab: Any, flow: Any, part: int) -> None:
    """Each point of this part, once."""
    case = flow(lab)
    first = play(lab, case, None, secrets.token_hex(8))
    end_well(lab, case, first)
    everywhere = points(first["seen"])
    assert len(everywhere) >= 4, everywhere
    passed = {name.partition("@")[0] for name in first["seen"]}
    claimed = set(CLAIMED.get(flow.__name__, ()))
    assert sorted(claimed - passed) == [], "points.toml says this flow passes there"
    chosen = [one for one in everywhere if part_of(one) == part]
    if not CAMPAIGN:
        chance = random.Random(f"{SEED}/{flow.__name__}")
        # One that the request itself passes: loops may come by less often in the next life.
        sure = chance.choice([one for one in everywhere if "@loop:" not in one[0]] or everywhere)
        others = [one for one in everywhere if one != sure]
        chosen = [sure, *chance.sample(others, min(CASES - 1, len(others)))]
    died = 0
    for point in chosen:
        case, key = flow(lab), secrets.token_hex(8)
        crashed = play(lab, case, point, key)
        died += bool(crashed["killed"])
        answer = play(lab, case, None, key)
        try:
            end_well(lab, case, answer)
        except AssertionError as error:
            raise AssertionError(f"died at {point[0]} pass {point[1]}: {error}") from error
    tell(flow, points=len(chosen), died=died)
    assert died > 0 or CAMPAIGN, "no crash point was reached: the test proved nothing"


@in_parts
@pytest.mark.parametrize("flow", RECOVERING, ids=lambda flow: flow.__name__)
def test_a_flow_that_dies_while_it_recovers_ends_once_and_whole(
    lab: Any, flow: Any, part: int
) -> None:
    """After a death anywhere the next life dies too, anywhere; the third one ends it."""
    with told_if_wrong(flow):
        dies_again(lab, flow, part)


def dies_again(lab: Any, flow: Any, part: int) -> None:
    """Each point of this part, and another in the life that recovers."""
    first = play(lab, case := flow(lab), None, secrets.token_hex(8))
    end_well(lab, case, first)
    everywhere = points(first["seen"])
    # What any life passes, a recovering one too: its loops, and the commits of the same request.
    early = [
        (name, n)
        for name, n in everywhere
        if n == 1 and ("@loop:" in name or name.startswith(("db.", "idempotency.")))
    ]
    chance = random.Random(f"{SEED}/again/{flow.__name__}/{part}")
    died_twice = 0
    chosen = [one for one in everywhere if part_of(one) == part]
    if not CAMPAIGN:
        chosen = chance.sample(everywhere, min(RECOVERIES, len(everywhere)))
    sure = [point for point in early if "@loop:" not in point[0]] or early
    for number, one in enumerate(chosen):
        case, key = flow(lab), secrets.token_hex(8)
        before = bool(play(lab, case, one, key)["killed"])
        other = chance.choice([sure, early, everywhere][number % 3])
        died_twice += before and bool(play(lab, case, other, key)["killed"])
        try:
            end_well(lab, case, play(lab, case, None, key))
        except AssertionError as error:
            raise AssertionError(f"died at {one}, then at {other}: {error}") from error
    tell(flow, **{"again": len(chosen), "died again": died_twice})

"""The books against a model in plain Python: any commands, same balances, same refusals."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from wallet import ledger
from wallet.db import Database, Session
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.ledger.errors import LedgerError
from wallet.money import Money
from wallet.testing.books import ASSETS, new_principal
from wallet.testing.databases import ScratchDatabase

PEOPLE = 3
CODES = ("EUR", "USDC")
AMOUNTS = st.integers(1, 60)
PERSON = st.integers(0, PEOPLE - 1)
CODE = st.sampled_from(CODES)


@dataclass
class Held:
    """A hold as the model keeps it."""

    id: str
    person: int
    code: str
    kept: int


@dataclass
class Model:
    """Balances, holds, states and reversals by the rules, and nothing else."""

    balance: dict[tuple[int, str], int] = field(default_factory=dict)
    held: dict[tuple[int, str], int] = field(default_factory=dict)
    status: dict[tuple[int, str], str] = field(default_factory=dict)
    reversed: set[str] = field(default_factory=set)

    def refusals(self, key: tuple[int, str], change: int, hold_change: int = 0) -> set[str]:
        """Why `change` of the balance and `hold_change` of what is held cannot be."""
        found = set()
        status = self.status.get(key, "open")
        if status == "closed" and (change or hold_change > 0):
            found.add("account_closed")
        captured = change < 0 and hold_change <= change  # set aside before: it may go
        if status == "frozen" and ((change < 0 and not captured) or hold_change > 0):
            found.add("account_frozen")
        left = self.balance.get(key, 0) + change - self.held.get(key, 0) - hold_change
        if left < 0:
            found.add("insufficient_funds")
        return found

    def move(self, key: tuple[int, str], change: int, hold_change: int = 0) -> None:
        self.balance[key] = self.balance.get(key, 0) + change
        self.held[key] = self.held.get(key, 0) + hold_change


class Books(RuleBasedStateMachine):
    """One transaction against the real database, rolled back at the end."""

    url = ""
    holds: Bundle[Held] = Bundle("holds")
    entries: Bundle[tuple[str, list[tuple[tuple[int, str], int]]]] = Bundle("entries")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.model = Model()
        self.db = Database(self.url, pool_size=1)
        self.session: Session = self.db.session()
        self.people: list[str] = []

    @initialize()
    def people_come(self) -> None:
        for _ in range(PEOPLE):
            self.people.append(self.runner.run(new_principal(self.session)))

    def spec(self, key: tuple[int, str]) -> accounts.AccountSpec:
        return accounts.customer(self.people[key[0]], key[1])

    def post(self, command: ledger.Command, expected: set[str]) -> str | None:
        """Post; the refusal, or none, is one that the model expects."""
        try:
            entry = self.runner.run(ledger.post(self.session, command))
        except LedgerError as refusal:
            assert refusal.code in expected, (refusal.code, expected)
            return None
        assert not expected, f"done, although {expected}"
        return entry or "done"

    def entry(self, moves: list[tuple[tuple[int, str] | None, str, int]], **more: Any) -> Any:
        lines = [
            ledger.Line(
                self.spec(key) if key else accounts.capital(code), Money(minor, ASSETS.get(code))
            )
            for key, code, minor in moves
        ]
        return ledger.Command(kind="test", ref="test", lines=lines, **more)

    @rule(target=entries, person=PERSON, code=CODE, minor=AMOUNTS)
    def fund(self, person: int, code: str, minor: int) -> Any:
        key = (person, code)
        done = self.post(
            self.entry([(None, code, -minor), (key, code, minor)]), self.model.refusals(key, minor)
        )
        if done is None:
            return multiple()
        self.model.move(key, minor)
        return done, [(key, minor)]

    @rule(target=entries, payer=PERSON, payee=PERSON, code=CODE, minor=AMOUNTS)
    def transfer(self, payer: int, payee: int, code: str, minor: int) -> Any:
        source, target = (payer, code), (payee, code)
        command = self.entry([(source, code, -minor), (target, code, minor)])
        if payer == payee:
            refused = self.model.refusals(source, -minor) | {"ledger_refused"}
        else:
            refused = self.model.refusals(source, -minor) | self.model.refusals(target, minor)
        done = self.post(command, refused)
        if done is None:
            return multiple()
        self.model.move(source, -minor)
        self.model.move(target, minor)
        return done, [(source, -minor), (target, minor)]

    @rule(target=entries, person=PERSON, there=AMOUNTS, back=AMOUNTS)
    def convert(self, person: int, there: int, back: int) -> Any:
        source, target = (person, "EUR"), (person, "USDC")
        done = self.post(
            self.entry(
                [
                    (source, "EUR", -there),
                    (None, "EUR", there),
                    (None, "USDC", -back),
                    (target, "USDC", back),
                ]
            ),
            self.model.refusals(source, -there) | self.model.refusals(target, back),
        )
        if done is None:
            return multiple()
        self.model.move(source, -there)
        self.model.move(target, back)
        return done, [(source, -there), (target, back)]

    @rule(person=PERSON, minor=AMOUNTS, off=st.integers(1, 5))
    def unbalanced(self, person: int, minor: int, off: int) -> None:
        self.post(
            self.entry([(None, "EUR", -minor), ((person, "EUR"), "EUR", minor + off)]),
            self.model.refusals((person, "EUR"), minor + off) | {"unbalanced"},
        )

    @rule(target=holds, person=PERSON, code=CODE, minor=AMOUNTS)
    def hold(self, person: int, code: str, minor: int) -> Any:
        key, hold_id = (person, code), new_id("hld")
        opening = ledger.HoldOpening(
            self.spec(key), Money(minor, ASSETS.get(code)), "test", "test", hold_id
        )
        if self.post(ledger.Command(open=opening), self.model.refusals(key, 0, minor)) is None:
            return multiple()
        self.model.move(key, 0, minor)
        return Held(hold_id, person, code, minor)

    @rule(held=holds, capture=st.integers(0, 60), release=st.integers(0, 60))
    def capture(self, held: Held, capture: int, release: int) -> None:
        if capture + release == 0:
            return
        key = (held.person, held.code)
        moves = [(key, held.code, -capture), (None, held.code, capture)] if capture else []
        if held.kept == 0:
            refused = {"hold_closed"}
        elif capture + release > held.kept:
            refused = {"hold_exceeded"}
        else:
            refused = self.model.refusals(key, -capture, -capture - release)
        command = self.entry(moves, close=[ledger.HoldClosing(held.id, capture, release)])
        if self.post(command, refused) is not None:
            held.kept -= capture + release
            self.model.move(key, -capture, -capture - release)

    @rule(done=entries)
    def reverse(self, done: tuple[str, list[tuple[tuple[int, str], int]]]) -> None:
        entry, moves = done
        refused: set[str] = set()
        for key, minor in moves:
            refused |= self.model.refusals(key, -minor)
        if entry in self.model.reversed:
            refused = {"already_reversed"}
        try:
            self.runner.run(ledger.reverse(self.session, entry_id=entry, reason="test"))
        except LedgerError as refusal:
            assert refusal.code in refused, (refusal.code, refused)
            return
        assert not refused
        self.model.reversed.add(entry)
        for key, minor in moves:
            self.model.move(key, -minor)

    @rule(done=consumes(entries))
    def forget(self, done: object) -> None:
        """Keep the choice among entries small."""

    @rule(person=PERSON, code=CODE, status=st.sampled_from(["open", "open", "frozen", "closed"]))
    def set_status(self, person: int, code: str, status: str) -> None:
        account = self.runner.run(ledger.account_id(self.session, self.spec((person, code))))
        self.execute("SELECT ledger_set_status(:account, :status)", account=account, status=status)
        self.model.status[person, code] = status

    @rule(rows=st.integers(1, 5))
    def fold(self, rows: int) -> None:
        self.execute("SELECT ledger_fold(:rows)", rows=rows)

    def execute(self, sql: str, **values: object) -> None:
        self.runner.run(self.session.execute(text(sql), values))

    @invariant()
    def balances_agree(self) -> None:
        for number, person in enumerate(self.people):
            balances = self.runner.run(ledger.balances(self.session, principal_id=person))
            for balance in balances:
                key = (number, balance.asset)
                assert balance.total_minor == self.model.balance.get(key, 0)
                assert balance.held_minor == self.model.held.get(key, 0)

    @invariant()
    def nothing_is_made_or_lost(self) -> None:
        totals = self.runner.run(ledger.trial_balance(self.session))
        assert set(totals.values()) <= {0}

    def teardown(self) -> None:
        self.execute("SET CONSTRAINTS ALL IMMEDIATE")
        self.runner.run(self.session.close())
        self.runner.run(self.db.dispose())
        self.runner.close()


def test_the_books_do_what_the_model_does(database: ScratchDatabase) -> None:
    machine = type("BooksHere", (Books,), {"url": database.operator_url})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=40, stateful_step_count=40, deadline=None)
    )

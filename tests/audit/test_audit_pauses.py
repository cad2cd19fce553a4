"""A break pauses its asset's withdrawals, says why, and goes on when somebody has looked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace

import psycopg
import pytest

from tests.audit.conftest import Books
from wallet import audits, cases
from wallet.auditor.record import keep
from wallet.audits import AuditWatch
from wallet.db import Database
from wallet.errors import InvalidField, InvalidState, NotFound
from wallet.onchain import pauses, queue, repository, signers
from wallet.onchain.states import State
from wallet.settings import Settings

EUR = "UPDATE accounts SET balance_minor = balance_minor + 1 WHERE path = 'house:capital:EUR'"
ETH = "UPDATE accounts SET balance_minor = balance_minor + 1 WHERE path = 'house:capital:ETH'"
ODD = "DELETE FROM events WHERE seq = (SELECT min(seq) + 1 FROM events)"


@pytest.fixture
async def db(books: Books) -> AsyncIterator[Database]:
    db = Database(books.url("bifold_operator"))
    yield db
    await db.dispose()


async def audited(books: Books, db: Database) -> set[str]:
    """An audit, what follows from it, and the assets that wait."""
    await asyncio.to_thread(lambda: keep(books.conninfo(), books.audit()))
    async with db.transaction() as session:
        await audits.act(session)
        return {one.asset for one in await audits.open_pauses(session)}


AUDITS = {"books_broken", "audit_finding", "audit_away"}


async def open_cases(db: Database) -> set[tuple[str, str]]:
    async with db.transaction() as session:
        found = {(one.kind, one.subject) for one in await cases.listed(session)}
    return {one for one in found if one[0] in AUDITS}  # the house's own cases stand beside them


async def test_clean_books_pause_nothing(books: Books, db: Database) -> None:
    assert await audited(books, db) == set()
    assert await open_cases(db) == set()


async def test_a_break_pauses_its_own_asset_with_a_case_that_says_why(
    books: Books, db: Database
) -> None:
    books.plant(ETH)
    assert await audited(books, db) == {"ETH"}
    assert await open_cases(db) == {("books_broken", "ETH")}
    async with db.transaction() as session:
        [case] = [one for one in await cases.listed(session) if one.kind in AUDITS]
        assert case.severity == "critical" and case.asset == "ETH"
        assert "house:capital:ETH should be" in case.what and "withdrawals of ETH wait" in case.what
        assert any("trial_balance_off" in named for named in case.evidence["named"])


async def test_a_break_without_an_asset_pauses_every_asset(books: Books, db: Database) -> None:
    books.plant("UPDATE chain_signers SET next_nonce = next_nonce + 1 WHERE role = 'hot'")
    assert await audited(books, db) == {"*"}


async def test_a_break_that_moves_no_money_pauses_nothing(books: Books, db: Database) -> None:
    books.plant(ODD)
    assert await audited(books, db) == set()
    assert {kind for kind, _ in await open_cases(db)} == {"audit_finding"}


async def test_it_waits_until_somebody_has_looked_even_when_it_is_gone(
    books: Books, db: Database
) -> None:
    books.plant(EUR)
    assert await audited(books, db) == {"EUR"}
    books.plant(EUR.replace("+ 1", "- 1"))
    assert await audited(books, db) == {"EUR"}
    async with db.transaction() as session:
        closed = await audits.accept(session, subject="EUR", run_id=1, by="ada", note="a test")
        assert len(closed) == 1
    assert await audited(books, db) == set()
    assert await open_cases(db) == set()


async def test_what_was_accepted_is_named_for_ever_and_pauses_nothing_again(
    books: Books, db: Database
) -> None:
    books.plant(EUR)
    assert await audited(books, db) == {"EUR"}
    async with db.transaction() as session:
        await audits.accept(session, subject="EUR", run_id=1, by="ada", note="known")
    assert await audited(books, db) == set()
    assert "balance_system_off" in await asyncio.to_thread(books.codes)
    books.plant(EUR)  # the same account, off by two now: another break
    assert await audited(books, db) == {"EUR"}


async def test_what_nobody_has_looked_at_is_not_accepted(books: Books, db: Database) -> None:
    books.plant(EUR)
    await audited(books, db)
    books.plant("UPDATE accounts SET balance_minor = balance_minor + 1 WHERE path ="
                " 'income:fx_spread:EUR'")  # fmt: skip
    await audited(books, db)
    async with db.transaction() as session:
        with pytest.raises(InvalidState, match="names more"):
            await audits.accept(session, subject="EUR", run_id=1, by="ada", note="seen")
    async with db.transaction() as session:
        with pytest.raises(NotFound):
            await audits.accept(session, subject="USD", run_id=1, by="ada", note="seen")
        with pytest.raises(InvalidField):
            await audits.accept(session, subject="EUR", run_id=2, by="ada", note=" ")
    assert {one[1] for one in await open_cases(db)} == {"EUR"}


async def test_a_paused_payment_is_held_back_and_the_house_may_move(
    books: Books, db: Database
) -> None:
    books.plant(ETH)
    await audited(books, db)
    queued = books.value(
        "SELECT id FROM chain_intents WHERE state = 'queued' AND asset = 'ETH'"
        " AND purpose = 'withdrawal'"
    )
    token = books.value("SELECT min(id) FROM chain_intents WHERE asset = 'USDC'")
    treasury = books.value("SELECT id FROM chain_intents WHERE purpose = 'treasury'")
    async with db.transaction() as session:
        await pauses.say_so(session, "local")
        assert await pauses.holds_back(session, queued)
        assert not await pauses.holds_back(session, token)
        assert not await pauses.holds_back(session, treasury)
    query = f"SELECT waiting_for FROM chain_intents WHERE id = '{queued}'"
    assert books.value(query) == "review"


class TestWatch:
    """The worker acts on reports that others make, and misses them."""

    def watch(self, books: Books, db: Database, minutes: int = 15) -> AuditWatch:
        settings = {"mode": "sandbox", "database_url": books.url(), "audit_minutes": minutes}
        return AuditWatch(db, Settings.model_validate(settings))

    async def test_it_acts_on_a_report(self, books: Books, db: Database) -> None:
        books.plant(EUR)
        await asyncio.to_thread(lambda: keep(books.conninfo(), books.audit()))
        await self.watch(books, db).tick()
        assert books.value("SELECT count(*) FROM audit_runs WHERE acted_at IS NOT NULL") == 1
        assert ("books_broken", "EUR") in await open_cases(db)

    async def test_a_report_that_does_not_come_is_a_case_until_one_does(
        self, books: Books, db: Database
    ) -> None:
        await asyncio.to_thread(lambda: keep(books.conninfo(), books.audit()))
        watch = self.watch(books, db)
        books.plant("UPDATE audit_runs SET ended_at = ended_at - interval '44 minutes'")
        await watch.tick()
        assert await open_cases(db) == set()
        books.plant("UPDATE audit_runs SET ended_at = ended_at - interval '2 minutes'")
        await self.watch(books, db, minutes=0).tick()  # nobody is to audit here
        assert await open_cases(db) == set()
        await watch.tick()
        assert await open_cases(db) == {("audit_away", "audit")}
        await asyncio.to_thread(lambda: keep(books.conninfo(), books.audit()))
        await watch.tick()
        assert await open_cases(db) == set()

    async def test_a_report_of_later_than_now_is_none(self, books: Books, db: Database) -> None:
        """The clock was set back: nobody would have missed one until that hour came again."""
        for which, when in (("min", "- interval '46 minutes'"), ("max", "+ interval '2 hours'")):
            await asyncio.to_thread(lambda: keep(books.conninfo(), books.audit()))
            books.plant(
                f"UPDATE audit_runs SET ended_at = clock_timestamp() {when}"
                f" WHERE id = (SELECT {which}(id) FROM audit_runs)"
            )
        await self.watch(books, db).tick()
        assert await open_cases(db) == {("audit_away", "audit")}

    async def test_the_first_report_is_waited_for_as_long(
        self, books: Books, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        watch = self.watch(books, db)
        await watch.tick()
        assert await open_cases(db) == set()
        later = time.monotonic() + 46 * 60
        monkeypatch.setattr("wallet.audits.watch.time", SimpleNamespace(monotonic=lambda: later))
        await watch.tick()
        assert await open_cases(db) == {("audit_away", "audit")}


async def test_the_runner_gives_no_nonce_while_its_asset_waits(books: Books, db: Database) -> None:
    """The whole way, at the query that the preparer asks."""
    with psycopg.connect(books.conninfo("bifold_app")) as service:
        service.execute("INSERT INTO audit_pauses (asset, run_id, reason) VALUES ('*', 1, 'x')")
    async with db.transaction() as session:
        waiting = await pauses.paused(session)
        queued = [
            one
            for one in await repository.intents_in(session, network="local", states=[State.QUEUED])
            if one.purpose == "withdrawal"
        ]
        sender = next(
            row.address
            for row in await signers.all_signers(session, "local")
            if queued[0].pinned_address in (None, row.address)
        )
        asked = {"network": "local", "sender": sender, "assets": [one.asset for one in queued]}
        assert (await queue.turn(session, **asked, paused=waiting))[0] == []
        assert (await queue.turn(session, **asked))[0]

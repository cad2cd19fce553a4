"""Several entries at once, all or none; and what a reversal may and may not undo."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from sqlalchemy import text

from wallet import ledger
from wallet.db import Database, Session
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.ledger.errors import (
    AccountClosed,
    AccountFrozen,
    AlreadyReversed,
    InsufficientFunds,
    Unbalanced,
)
from wallet.money import Money
from wallet.testing.books import EUR, fund, move, new_principal
from wallet.testing.operators import as_operator


def line(account: accounts.AccountSpec, minor: int) -> ledger.Line:
    return ledger.Line(account, Money(minor, EUR))


def pay(source: str, target: str, minor: int) -> ledger.Command:
    return ledger.Command(
        kind="test",
        ref="together",
        lines=[
            line(accounts.customer(source, "EUR"), -minor),
            line(accounts.customer(target, "EUR"), minor),
        ],
    )


async def total(session: Session, who: str) -> int:
    return await ledger.balance_of(session, accounts.customer(who, "EUR"))


async def set_status(session: Session, who: str, status: str) -> None:
    await session.execute(
        text("SELECT ledger_set_status(id, :status) FROM accounts WHERE principal_id = :who"),
        {"status": status, "who": who},
    )


class TestTogether:
    async def test_each_sees_what_the_ones_before_it_did(self, db: Database) -> None:
        async with db.transaction() as session:
            ada, bob, eve = [await new_principal(session) for _ in range(3)]
            await fund(session, ada, 100)
            made = await ledger.post_together(
                session, [pay(ada, bob, 100), pay(bob, eve, 70), pay(eve, ada, 1)]
            )
            assert len(set(made)) == 3
            assert [await total(session, who) for who in (ada, bob, eve)] == [1, 30, 69]

    async def test_one_refusal_leaves_nothing_of_any(self, db: Database) -> None:
        async with db.transaction() as session:
            ada, bob = await new_principal(session), await new_principal(session)
            await fund(session, ada, 100)
            with pytest.raises(InsufficientFunds, match=r"^Entry 3 of 4: "):
                await ledger.post_together(
                    session,
                    [pay(ada, bob, 60), pay(bob, ada, 10), pay(ada, bob, 51), pay(bob, ada, 1)],
                )
            # Caught: the caller's transaction goes on, and commits nothing of the batch.
        async with db.transaction() as session:
            assert [await total(session, who) for who in (ada, bob)] == [100, 0]
            assert await session.scalar(text("SELECT count(*) FROM entries")) == 1

    async def test_one_that_does_not_balance_leaves_nothing(self, db: Database) -> None:
        async with db.transaction() as session:
            ada, bob = await new_principal(session), await new_principal(session)
            await fund(session, ada, 100)
            odd = ledger.Command(
                kind="test",
                ref="odd",
                lines=[
                    line(accounts.customer(ada, "EUR"), -10),
                    line(accounts.customer(bob, "EUR"), 11),
                ],
            )
            with pytest.raises(Unbalanced, match=r"^Entry 2 of 2: "):
                await ledger.post_together(session, [pay(ada, bob, 5), odd])
            assert [await total(session, who) for who in (ada, bob)] == [100, 0]

    async def test_batches_in_opposite_order_do_not_block_each_other(self, db: Database) -> None:
        async with db.transaction() as session:
            people = [await new_principal(session) for _ in range(4)]
            for who in people:
                await fund(session, who, 1_000)

        async def round_trip(order: list[str]) -> None:
            async with db.transaction() as session:
                steps = [pay(a, b, 1) for a, b in itertools.pairwise(order)]
                await ledger.post_together(session, steps)

        for _ in range(25):
            await asyncio.gather(*(round_trip(people) for _ in range(2)),
                                 *(round_trip(people[::-1]) for _ in range(2)))  # fmt: skip
        async with db.transaction() as session:
            assert [await total(session, who) for who in people] == [1_000] * 4
            assert await session.scalar(text("SELECT count(*) FROM entries")) == 4 + 25 * 4 * 3

    async def test_nothing_is_no_batch(self, db: Database) -> None:
        async with db.transaction() as session:
            for empty in ([], [ledger.Command(kind="test", ref="none")]):
                with pytest.raises(ValueError):
                    await ledger.post_together(session, empty)


class TestReversal:
    async def test_of_a_reversal_brings_the_entry_back_once(self, db: Database) -> None:
        async with db.transaction() as session:
            ada = await new_principal(session)
            first = await fund(session, ada, 100)
            undone = await ledger.reverse(session, entry_id=first, reason="wrong")
            assert await total(session, ada) == 0
            redone = await ledger.reverse(session, entry_id=undone, reason="right after all")
            assert await total(session, ada) == 100
            for entry in (first, undone):
                with pytest.raises(AlreadyReversed):
                    await ledger.reverse(session, entry_id=entry, reason="again")
            await ledger.reverse(session, entry_id=redone, reason="wrong, finally")
            assert await total(session, ada) == 0

    async def test_five_hundred_by_two_at_once_are_five_hundred(self, db: Database) -> None:
        async with db.transaction() as session:
            ada = await new_principal(session)
            entries = [await fund(session, ada, 1) for _ in range(500)]
        done: list[str] = []
        refused: list[str] = []
        slots = asyncio.Semaphore(32)

        async def undo(entry: str) -> None:
            async with slots:
                try:
                    async with db.transaction() as session:
                        await ledger.reverse(session, entry_id=entry, reason="race")
                    done.append(entry)
                except AlreadyReversed:
                    refused.append(entry)

        await asyncio.gather(*(undo(entry) for entry in entries for _ in range(2)))
        assert sorted(done) == sorted(refused) == sorted(entries)
        async with db.transaction() as session:
            assert await total(session, ada) == 0
            assert await ledger.balance_of(session, accounts.capital("EUR")) == 0

    async def test_takes_nothing_that_is_held(self, db: Database) -> None:
        async with db.transaction() as session:
            ada = await new_principal(session)
            entry = await fund(session, ada, 100)
            hold_id = new_id("hld")
            await ledger.hold(
                session,
                ledger.HoldOpening(
                    accounts.customer(ada, "EUR"), Money(1, EUR), "test", "ref", hold_id
                ),
            )
            with pytest.raises(InsufficientFunds):
                await ledger.reverse(session, entry_id=entry, reason="held")
            await ledger.release(session, hold_id=hold_id)
            await ledger.reverse(session, entry_id=entry, reason="free")

    async def test_out_of_a_frozen_account_is_refused_into_one_passes(self, db: Database) -> None:
        async with as_operator(db) as session:  # who alone opens one again
            ada, bob = await new_principal(session), await new_principal(session)
            await fund(session, ada, 100)
            paid = await move(
                session, accounts.customer(ada, "EUR"), accounts.customer(bob, "EUR"), 40
            )
            await set_status(session, bob, "frozen")
            with pytest.raises(AccountFrozen):
                await ledger.reverse(session, entry_id=paid, reason="out of frozen")
            await set_status(session, bob, "open")
            await set_status(session, ada, "frozen")
            await ledger.reverse(session, entry_id=paid, reason="into frozen")
            assert [await total(session, who) for who in (ada, bob)] == [100, 0]

    async def test_of_a_closed_account_is_refused(self, db: Database) -> None:
        async with db.transaction() as session:
            ada = await new_principal(session)
            entry = await fund(session, ada, 100)
            spent = await move(session, accounts.customer(ada, "EUR"), accounts.capital("EUR"), 100)
            await set_status(session, ada, "closed")
            for one in (entry, spent):
                with pytest.raises(AccountClosed):
                    await ledger.reverse(session, entry_id=one, reason="closed")

    async def test_what_is_kept_beside_the_reason_hides_nothing(self, db: Database) -> None:
        async with db.transaction() as session:
            ada = await new_principal(session)
            entry = await fund(session, ada, 100)
            made = await ledger.reverse(
                session, entry_id=entry, reason="wrong", meta={"by": "ada", "reason": "none"}
            )
            meta = await session.scalar(text("SELECT meta FROM entries WHERE id = :i"), {"i": made})
            assert meta == {"by": "ada", "reason": "wrong", "of": "test"}

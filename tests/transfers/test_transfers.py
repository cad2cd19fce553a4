"""Money from one person here to another."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from wallet import identity, ledger, transfers
from wallet.db import Database
from wallet.errors import InvalidField, NotFound, SelfTransfer
from wallet.identity.errors import RecipientNotFound
from wallet.identity.users import User
from wallet.ledger import accounts
from wallet.ledger.errors import AccountFrozen, InsufficientFunds
from wallet.money import Money
from wallet.testing.books import ASSETS, EUR, fund


@pytest.fixture
async def people(db: Database) -> tuple[User, User]:
    """Ada, who has 100.00 EUR, and Bob, who has nothing."""
    async with db.transaction() as session:
        made = []
        for name in ("Ada", "Bob"):
            made.append(
                await identity.register(
                    session,
                    email=f"{name.lower()}@example.com",
                    password="correct horse battery staple",
                    display_name=name,
                    country="GB",
                    sandbox=True,
                )
            )
        await fund(session, made[0].id, 10_000)
    return made[0], made[1]


async def send(
    db: Database, payer: User, to: str, minor: int, note: str | None = None
) -> transfers.Transfer:
    async with db.transaction() as session:
        return await transfers.create(
            session, payer_id=payer.id, to=to, money=Money(minor, EUR), note=note
        )


async def balance(db: Database, user: User) -> int:
    async with db.transaction() as session:
        return await ledger.balance_of(session, accounts.customer(user.id, "EUR"))


async def test_moves_the_money_and_tells_both(db: Database, people: tuple[User, User]) -> None:
    ada, bob = people
    made = await send(db, ada, f"@{bob.handle}", 5025, "  for   lunch ")
    assert (await balance(db, ada), await balance(db, bob)) == (4975, 5025)
    assert (made.status, made.note, made.money.amount) == ("completed", "for lunch", "50.25")
    async with db.transaction() as session:
        rows = await session.execute(
            text("SELECT principal_id, type, ref, data->>'direction' AS way FROM outbox")
        )
        told = {(r.principal_id, r.type, r.ref, r.way) for r in rows}
        stored = await transfers.get(
            session, principal_id=bob.id, transfer_id=made.id, assets=ASSETS
        )
    assert told == {
        (ada.id, "transfer.completed", made.id, "out"),
        (bob.id, "transfer.completed", made.id, "in"),
    }
    assert stored == made


async def test_one_minor_unit_too_many_moves_nothing(
    db: Database, people: tuple[User, User]
) -> None:
    ada, bob = people
    with pytest.raises(InsufficientFunds):
        await send(db, ada, bob.email, 10_001)
    assert (await balance(db, ada), await balance(db, bob)) == (10_000, 0)
    async with db.transaction() as session:
        assert await session.scalar(text("SELECT count(*) FROM transfers")) == 0
        assert await session.scalar(text("SELECT count(*) FROM outbox")) == 0
    await send(db, ada, bob.email, 10_000)
    assert await balance(db, ada) == 0


async def test_to_oneself_is_refused_by_every_name(db: Database, people: tuple[User, User]) -> None:
    ada, _ = people
    for to in (f"@{ada.handle}", ada.email, ada.id):
        with pytest.raises(SelfTransfer):
            await send(db, ada, to, 1)


async def test_to_nobody_is_refused(db: Database, people: tuple[User, User]) -> None:
    with pytest.raises(RecipientNotFound):
        await send(db, people[0], "@nobody_here", 1)


async def test_a_frozen_payer_receives_and_sends_nothing(
    db: Database, people: tuple[User, User]
) -> None:
    ada, bob = people
    async with db.transaction() as session:
        account = await ledger.account_id(session, accounts.customer(ada.id, "EUR"))
        await session.execute(text("SELECT ledger_set_status(:id, 'frozen')"), {"id": account})
        await fund(session, bob.id, 500)
    with pytest.raises(AccountFrozen):
        await send(db, ada, bob.email, 1)
    await send(db, bob, ada.email, 500)
    assert await balance(db, ada) == 10_500


@pytest.mark.parametrize("note", ["x" * 201, "a\x00b", "a\x07b", "\ud800"])
async def test_a_note_is_short_and_visible(
    db: Database, people: tuple[User, User], note: str
) -> None:
    with pytest.raises(InvalidField):
        await send(db, people[0], people[1].email, 1, note)


async def test_an_empty_note_is_none(db: Database, people: tuple[User, User]) -> None:
    assert (await send(db, people[0], people[1].email, 1, " \n ")).note is None


async def test_nobody_else_sees_it(db: Database, people: tuple[User, User]) -> None:
    made = await send(db, people[0], people[1].email, 1)
    async with db.transaction() as session:
        with pytest.raises(NotFound):
            await transfers.get(
                session, principal_id="usr_other", transfer_id=made.id, assets=ASSETS
            )


async def test_pages_are_newest_first_and_hold_while_rows_come(
    db: Database, people: tuple[User, User]
) -> None:
    ada, bob = people
    made = [await send(db, ada, bob.email, n) for n in range(1, 8)]
    seen: list[str] = []
    cursor = None
    for turn in range(4):
        async with db.transaction() as session:
            rows = await transfers.page(
                session, principal_id=bob.id, limit=3, cursor=cursor, assets=ASSETS
            )
        more, rows = len(rows) > 3, rows[:3]
        seen += [row.id for row in rows]
        cursor = (rows[-1].created_at, rows[-1].id)
        await send(db, ada, bob.email, 100 + turn)
        if not more:
            break
    assert seen == [transfer.id for transfer in reversed(made)]


async def test_many_at_once_both_ways_lose_nothing(db: Database, people: tuple[User, User]) -> None:
    ada, bob = people
    async with db.transaction() as session:
        await fund(session, bob.id, 10_000)

    async def one(number: int) -> bool:
        payer, payee = (ada, bob) if number % 2 else (bob, ada)
        try:
            await send(db, payer, payee.email, 700 + number)
        except InsufficientFunds:
            return False
        return True

    assert any(await asyncio.gather(*(one(number) for number in range(48))))
    assert await balance(db, ada) + await balance(db, bob) == 20_000

"""The reference of a bank transfer is its sender's to choose: none makes sound books look broken.

What the auditor names pauses money out, of one asset or of all; a stranger must not be able to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import psycopg
import pytest

from wallet import topups
from wallet.auditor.instance import Instance
from wallet.auditor.run import examine
from wallet.db import Database
from wallet.ledger import accounts
from wallet.payouts import simbank
from wallet.testing.databases import ScratchDatabase
from wallet.testing.payments import PaymentWorld
from wallet.topups.references import reference_of

NOT_OURS = {"entry_kind_unknown", "capital_paid_customer"}
"""How the test bed gives people money."""


class House(PaymentWorld):
    """Pays abroad and takes transfers in."""

    def __init__(self, db: Database, bank_db: Database, database: ScratchDatabase) -> None:
        super().__init__(db, bank_db)
        self.bank_db, self.database = bank_db, database

    async def arrives(self, reference: str, amount: str, words: str = "nobody") -> None:
        """A transfer of somebody's, with a reference of theirs."""
        money = self.money(amount, "EUR")
        await self.bank.receive(reference=reference, money=money, about=words, another=True)
        await self.reader.tick()

    def named(self) -> set[str]:
        """What the auditor names about the bank and what is booked from it, with its own rights."""
        with psycopg.connect(self.database.conninfo("bifold_audit")) as connection:
            report = examine(connection, Instance(), ask_chain=False)
        return {finding.code for finding in report.findings} - NOT_OURS


@pytest.fixture
async def house(database: ScratchDatabase) -> AsyncIterator[House]:
    db, bank_db = Database(database.app_url), Database(database.app_url)
    house = House(db, bank_db, database)
    await house.open()
    yield house
    await db.dispose()
    await bank_db.dispose()


async def test_a_payment_s_own_words(house: House) -> None:
    """The payer sees the ids of their payment and of its order to the bank."""
    made = await house.finish(await house.pay(await house.person(EUR="50.00"), "40.00"))
    payout = next(leg.reference for leg in made.legs if leg.kind == "payout")
    assert made.status == "completed" and payout is not None
    await house.arrives(made.id, "0.01")
    await house.arrives(payout, "0.01")
    assert await house.bank_is_off_by() == {}
    assert house.named() == set()


async def test_a_top_up_s_own_id(house: House) -> None:
    who = await house.person()
    async with house.db.transaction() as session:
        draft = topups.TopupDraft(house.money("5.00", "EUR"), "bank_transfer", None)
        mine = await topups.create(session, assets=house.assets, principal_id=who, draft=draft)
        words = await reference_of(session, who)
    await house.arrives("bank-1", "5.00", words)
    await house.arrives(mine.id, "0.01")
    assert await house.balance(who, "EUR") == "5.00"
    assert await house.bank_is_off_by() == {}
    assert house.named() == set()


async def test_what_the_bank_takes_back_of_what_named_nobody(house: House) -> None:
    await house.arrives("bank-1", "5.00")
    async with house.bank_db.transaction() as session:
        await simbank._move(session, "EUR", -500, "credit", "bank-1", "recalled")
    await house.reader.tick()
    assert (await house.account(accounts.unattributed("simbank", "EUR"))).minor == 0
    assert await house.bank_is_off_by() == {}
    assert house.named() == set()

"""What an audited house does with cards, bank transfers, charge-backs and corrections by hand."""

from __future__ import annotations

import contextlib
import random

import orjson
from sqlalchemy import text

from wallet import topups
from wallet.corrections import service as corrections
from wallet.corrections.document import read_batch
from wallet.db import Database
from wallet.errors import WalletError
from wallet.money import Money
from wallet.receivables import Collector
from wallet.testing.operators import as_operator
from wallet.testing.payments import PaymentWorld
from wallet.topups import cards, references, resolve, strays
from wallet.topups.gateway import ChargeOrder, ListKind
from wallet.topups.reconcile import SETTLING_SECONDS
from wallet.topups.simgate import GATEWAY

_CARDS = ("visa_ok", "visa_ok", "visa_declined", "amex_late", "mastercard_three_d_secure")


class TopupDeeds:
    """`money` has the bank and its reader; `gateway_db` is the gateway's own way to its books,
    `operators` the way of those who correct ours."""

    def __init__(
        self,
        db: Database,
        gateway_db: Database,
        operators: Database,
        money: PaymentWorld,
        dice: random.Random,
    ) -> None:
        self._db = db
        self._operators = operators
        self._money = money
        self._dice = dice
        self._gateway = topups.SimulatedGateway(gateway_db, money.assets, action_base="http://sim")
        self._tasks = topups.TopupTasks(db, money.assets, self._gateway)
        self._number = 0

    async def by_card(self, who: str, amount: str, card: str | None = None) -> str | None:
        """A card payment that begins; its id, None when it was refused."""
        facts = await self._gateway.tokenise(card or self._dice.choice(_CARDS))
        async with self._db.transaction() as session:
            bound = await cards.bind(session, principal_id=who, gateway=GATEWAY, facts=facts)
        made = await self._begin(who, amount, bound.id)
        if made is not None:
            await self._tasks.advance(made)
        return made

    async def announced(self, who: str, amount: str) -> None:
        """A bank transfer that is announced, then comes with its owner's reference."""
        if await self._begin(who, amount, None) is not None:
            async with self._db.transaction() as session:
                words = await references.reference_of(session, who)
            await self._arrives(words, amount)

    async def stray(self, amount: str) -> None:
        """A transfer that names nobody."""
        await self._arrives("for the rent", amount)

    async def assign(self, who: str) -> None:
        """Two operators say whose the oldest stray is."""
        assets = self._money.assets
        async with self._db.transaction() as session:
            waiting = await strays.strays(session, assets)
        if waiting:
            named = {"stray_id": waiting[0].id, "principal_id": who}
            with contextlib.suppress(WalletError):
                async with as_operator(self._db) as session:
                    await strays.propose(session, assets, **named, by="ada")
                async with as_operator(self._db) as session:
                    await strays.approve(session, assets, **named, by="ben")

    async def charge_back(self) -> None:
        """The newest card payment that succeeded is taken back by its holder."""
        newest = await self._value(
            "SELECT max(id) FROM topups WHERE method = 'card' AND status = 'succeeded'"
        )
        if newest is not None:
            await self._gateway.charge_back(newest)

    async def work(self) -> None:
        """One round of the worker's: gateway's day, its list, what it says, what is owed."""
        await self._gateway.tick()
        await self._tasks.tick()
        await self._money.reader.tick()
        async with self._db.transaction() as session:
            rows = await session.execute(
                text("SELECT id FROM topups WHERE method = 'card' ORDER BY id")
            )
            known = list(rows.scalars())
        for topup_id in known:
            await self._tasks.advance(topup_id)
        await Collector(self._db, self._money.assets).tick()

    async def reverse(self) -> None:
        """The newest transfer that stands is undone by two operators, where the payee has it."""
        entry = await self._value(
            "SELECT max(t.entry_id) FROM transfers t WHERE NOT EXISTS"
            " (SELECT FROM entries e WHERE e.reverses = t.entry_id)"
        )
        if entry is not None:
            with contextlib.suppress(WalletError):
                async with self._operators.transaction() as session:
                    made = await corrections.propose_reversal(
                        session, entry_id=entry, reason="wrong person", by="ada",
                        assets=self._money.assets,
                    )  # fmt: skip
                await self._approve(made.id)

    async def correct(self, who: str, amount: str) -> None:
        """Goodwill in two entries, by hand."""
        lines = [
            {"account": "expense:correction:EUR", "amount": f"-{amount}"},
            {"account": f"customer:{who}:EUR", "amount": amount},
        ]
        entry = {"note": "as agreed", "postings": lines}
        document = {"reason": "a letter of the 3rd", "entries": [entry, entry]}
        with contextlib.suppress(WalletError):
            async with self._operators.transaction() as session:
                made = await corrections.propose_entries(
                    session, read_batch(orjson.dumps(document)), by="ada",
                    assets=self._money.assets,
                )  # fmt: skip
            await self._approve(made.id)

    async def story(self, ada: str, ben: str, debtor: str, gone: str) -> None:
        """Every kind of top-up and correction, to each of its ends, and one left open."""
        for card in ("visa_ok", "visa_declined", "amex_late"):
            await self.by_card(ada, "20.00", card)
        await self.by_card(ben, "15.00", "visa_ok")
        await self.charge_back()
        await self.work()
        # Charged back after it was spent: all there is goes, the rest is owed, some of it repaid.
        await self.by_card(debtor, "70.00", "visa_ok")
        await self._spend_all(debtor, "5060.00")
        await self.charge_back()
        await self.work()
        await self.announced(debtor, "30.00")
        await self.work()
        await self.announced(ada, "12.50")
        await self._nameless("4.04")
        await self.stray("8.08")
        await self.assign(ben)
        await self.stray("9.09")
        await self.correct(ada, "1.23")
        await self.reverse()
        await self._of_nobody()
        await self._closed(gone)
        await self._resolved(ben)
        await self._money.advance(31)
        await self.work()
        await self._money.table_rates()
        await self.by_card(ada, "7.00", "mastercard_three_d_secure")

    # Inside

    async def _begin(self, who: str, amount: str, card: str | None) -> str | None:
        money = self._money.money(amount, "EUR")
        draft = topups.TopupDraft(money, "card" if card else "bank_transfer", card)
        try:
            async with self._db.transaction() as session:
                made = await topups.create(
                    session, assets=self._money.assets, principal_id=who, draft=draft
                )
        except WalletError:
            return None
        return made.id

    async def _arrives(self, words: str, amount: str) -> None:
        self._number += 1
        await self._money.bank.receive(
            reference=f"bank-{self._number}", money=self._money.money(amount, "EUR"), about=words
        )
        await self._money.reader.tick()

    async def _nameless(self, amount: str) -> None:
        """A line without a reference: it is kept aside, and those behind it are read."""
        money = self._money.money(amount, "EUR")
        await self._money.bank.receive(reference="", money=money, about="for the rent")
        await self._money.reader.tick()

    async def _approve(self, correction_id: str) -> None:
        async with self._operators.transaction() as session:
            await corrections.approve(session, correction_id, by="ben", assets=self._money.assets)

    async def _spend_all(self, who: str, amount: str) -> None:
        """Nearly all goes to the house's capital by a correction: what follows is owed."""
        lines = [
            {"account": f"customer:{who}:EUR", "amount": f"-{amount}"},
            {"account": "expense:correction:EUR", "amount": amount},
        ]
        document = {"reason": "a court", "entries": [{"note": "taken", "postings": lines}]}
        async with self._operators.transaction() as session:
            made = await corrections.propose_entries(
                session, read_batch(orjson.dumps(document)), by="ada", assets=self._money.assets
            )
        await self._approve(made.id)

    async def _of_nobody(self) -> None:
        """The gateway has money by a reference that is not ours."""
        token = (await self._gateway.tokenise("visa_ok")).token
        await self._gateway.charge(ChargeOrder("top_lost", token, self._money.money("7.00", "EUR")))

    async def _closed(self, who: str) -> None:
        """A card payment arrives for somebody who has gone, and is taken back later."""
        made = await self.by_card(who, "25.00", "amex_late")
        balance = await self._value(
            f"SELECT balance_minor::text FROM accounts WHERE path = 'customer:{who}:EUR'"
        )
        assert made is not None and balance is not None
        await self._spend_all(who, f"{balance[:-2]}.{balance[-2:]}")
        async with self._db.transaction() as session:
            await session.execute(
                text("SELECT ledger_set_status(id, 'closed') FROM accounts WHERE path = :path"),
                {"path": f"customer:{who}:EUR"},
            )
        await self._money.advance(31)
        await self.work()
        await self._gateway.charge_back(made)
        await self.work()

    async def _resolved(self, who: str) -> None:
        """The list says otherwise than the gateway's answers, and two operators follow it: a credit
        and a charge-back as the worker would have made them, and another amount each way."""
        none, less = [await self.by_card(who, "20.00", "visa_declined") for _ in range(2)]
        back, part = [await self.by_card(who, "20.00", "visa_ok") for _ in range(2)]
        wanted: tuple[tuple[str | None, str, int, ListKind], ...] = (
            (none, "20.00", 1, "charge"), (less, "19.00", 1, "charge"),
            (back, "20.00", -1, "charge_back"), (part, "5.00", -1, "charge_back"),
        )  # fmt: skip
        for topup, amount, sign, kind in wanted:
            assert topup is not None
            money = self._money.money(amount, "EUR")
            await self._gateway.misreport(topup, Money(sign * money.minor, money.asset), kind)
        await self.work()
        await self._money.advance(SETTLING_SECONDS + 1)
        for topup, *_ in wanted:
            assert topup is not None
            async with self._operators.transaction() as session:
                made = await resolve.propose(
                    session, reference=topup, asset=None, reason="its statement", by="ada"
                )
            async with self._operators.transaction() as session:
                await resolve.approve(session, self._money.assets, resolution_id=made.id, by="ben")
        await self.work()

    async def _value(self, query: str) -> str | None:
        async with self._db.transaction() as session:
            found: str | None = await session.scalar(text(query))
            return found

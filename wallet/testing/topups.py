"""A bed for tests of top-ups: a house, its gateway and its bank, and people with cards."""

from __future__ import annotations

from sqlalchemy import text

from wallet import ledger, payouts, topups
from wallet.db import Database
from wallet.ledger import accounts
from wallet.money import Money
from wallet.payouts.reconcile import bank_lines
from wallet.receivables import Collector
from wallet.testing.exchange import ExchangeBed
from wallet.topups import cards
from wallet.topups.simgate import GATEWAY

ROUNDS_LIMIT = 20


class TopupWorld(ExchangeBed):
    """`pay` begins a card top-up; `work` lets worker, gateway and bank go on once."""

    def __init__(self, db: Database, other_db: Database) -> None:
        super().__init__(db)
        self.bank = payouts.SimulatedBank(other_db)
        self.gateway = topups.SimulatedGateway(other_db, self.assets, action_base="http://sim")
        self.reader = payouts.StatementReader(
            db, self.bank, self.assets, topups.IncomingTransfers()
        )
        self.tasks = self.new_tasks()

    def new_tasks(self) -> topups.TopupTasks:
        """What a freshly started worker would hold."""
        return topups.TopupTasks(self.db, self.assets, self.gateway)

    async def card(self, who: str, test_card: str = "visa_ok") -> topups.Card:
        """Bind a test card."""
        facts = await self.gateway.tokenise(test_card)
        async with self.db.transaction() as session:
            return await cards.bind(session, principal_id=who, gateway=GATEWAY, facts=facts)

    async def begin(
        self, who: str, amount: str, code: str = "EUR", *, source: str | None = None
    ) -> topups.Topup:
        """`POST /v1/topups`: from a card where `source` names one, else by bank transfer."""
        draft = topups.TopupDraft(
            self.money(amount, code), "card" if source else "bank_transfer", source
        )
        async with self.db.transaction() as session:
            return await topups.create(session, assets=self.assets, principal_id=who, draft=draft)

    async def pay(self, who: str, amount: str, test_card: str = "visa_ok") -> topups.Topup:
        """Card and top-up in one."""
        card = await self.card(who, test_card)
        return await self.begin(who, amount, source=card.id)

    async def see(self, topup: topups.Topup) -> topups.Topup:
        """The top-up as it is now."""
        async with self.db.transaction() as session:
            return await topups.get(
                session, assets=self.assets, principal_id=topup.principal_id, topup_id=topup.id
            )

    async def jobs(self) -> list[str]:
        """Top-ups that a job is promised for; taken, as a worker takes them."""
        async with self.db.transaction() as session:
            rows = await session.execute(
                text(
                    "DELETE FROM jobs.procrastinate_jobs WHERE task_name = :task"
                    " AND status = 'todo' RETURNING args->>'topup_id'"
                ),
                {"task": topups.ADVANCE},
            )
            return sorted(rows.scalars())

    async def work(self) -> None:
        """One round of everything a worker does: gateway's day, list, sweep, then what they say."""
        await self.gateway.tick()
        await self.tasks.tick()
        await self.reader.tick()
        async with self.db.transaction() as session:
            rows = await session.execute(
                text("SELECT id FROM topups UNION SELECT reference FROM gateway_lines ORDER BY 1")
            )
            known = list(rows.scalars())
        for topup_id in known:
            await self.tasks.advance(topup_id)
        await Collector(self.db, self.assets).tick()

    async def finish(self, topup: topups.Topup) -> topups.Topup:
        """Work and let time pass until it has ended."""
        for _ in range(ROUNDS_LIMIT):
            await self.tasks.advance(topup.id)
            now = await self.see(topup)
            if now.ended_at is not None:
                await self.tasks.tick()
                return now
            await self.advance(2)
        raise AssertionError(f"the top-up still waits for {now.waiting_for}")

    async def transfer(self, words: str, amount: str, code: str = "EUR") -> str:
        """A transfer with this text arrives and is read; the bank's reference."""
        async with self.db.transaction() as session:
            count = await session.scalar(text("SELECT count(*) FROM simbank.statement"))
        reference = f"bank-{count}"
        await self.bank.receive(reference=reference, money=self.money(amount, code), about=words)
        await self.reader.tick()
        return reference

    async def details(self, who: str) -> topups.BankDetails:
        """`GET /v1/bank-details`."""
        async with self.db.transaction() as session:
            return await topups.bank_details(
                session, self.bank, assets=self.assets, principal_id=who, asset="EUR"
            )

    async def spend(self, who: str, amount: str, code: str = "EUR") -> None:
        """Move it to somebody else, as far as the books allow."""
        money = self.money(amount, code)
        other = await self.person()
        async with self.db.transaction() as session:
            await ledger.post(
                session,
                ledger.Command(
                    kind="test.spent",
                    ref=who,
                    lines=[
                        ledger.Line(accounts.customer(who, code), Money(-money.minor, money.asset)),
                        ledger.Line(accounts.customer(other, code), money),
                    ],
                ),
            )

    async def listed(self, reference: str) -> list[int]:
        """Every movement the gateway shows for one reference, minor units."""
        async with self.db.transaction() as session:
            rows = await session.execute(
                text("SELECT amount_minor FROM simgate.list WHERE reference = :r ORDER BY id"),
                {"r": reference},
            )
            return [int(amount) for amount in rows.scalars()]

    async def told(self, topup_id: str) -> list[str]:
        """Types of everything its owner was told, in order."""
        async with self.db.transaction() as session:
            rows = await session.execute(
                text("SELECT type FROM outbox WHERE ref = :ref ORDER BY id"), {"ref": topup_id}
            )
            return list(rows.scalars())

    async def off(self) -> dict[str, str]:
        """Bank and gateway accounts whose reconciliation is not clean, with the note."""
        lines = [*await bank_lines(self.db), *await topups.gateway_lines(self.db)]
        return {line.account: line.note for line in lines if not line.balanced}

    async def assert_sound(self) -> None:
        """Books sum to zero; bank and gateway agree; nobody is below zero."""
        assert await self.imbalance() == {}
        assert await self.off() == {}
        async with self.db.transaction() as session:
            below = await session.scalar(
                text("SELECT count(*) FROM accounts WHERE kind = 'customer' AND balance_minor < 0")
            )
        assert below == 0

"""A bed for tests of payments: a house with a bank, its tasks, and the simulated bank itself."""

from __future__ import annotations

from sqlalchemy import text

from wallet import payments, payouts, topups
from wallet.db import Database
from wallet.fx import quotes
from wallet.payments import recipients
from wallet.payouts.reconcile import bank_lines
from wallet.payouts.simbank import PROCESSING_SECONDS
from wallet.testing.exchange import ExchangeBed

CLABE = "002010077777777771"
IBAN = "DE89370400440532013000"
ROUNDS_LIMIT = 20


class PaymentWorld(ExchangeBed):
    """`pay` begins one; `finish` lets workers and bank go on until it has ended."""

    def __init__(self, db: Database, bank_db: Database) -> None:
        super().__init__(db)
        self.bank = payouts.SimulatedBank(bank_db)
        self.tasks = self.new_tasks()
        self.reader = payouts.StatementReader(
            db, self.bank, self.assets, topups.IncomingTransfers()
        )

    def new_tasks(self) -> payments.PaymentTasks:
        """What a freshly started worker would hold."""
        rails = {"spei": self.bank, "sepa": self.bank}
        return payments.PaymentTasks(self.db, self.assets, rails)

    async def open(self) -> None:
        """Rates, and the house's accounts at its bank."""
        await self.table_rates()
        await payouts.seed_house(self.db, self.bank, self.assets, topups.IncomingTransfers())

    async def recipient(self, who: str, kind: str = "clabe") -> recipients.Recipient:
        """A good recipient in Mexico or Germany."""
        details = {"clabe": CLABE} if kind == "clabe" else {"iban": IBAN}
        country = "MX" if kind == "clabe" else "DE"
        draft = recipients.RecipientDraft(kind, "María García", country, details)
        async with self.db.transaction() as session:
            return await recipients.create(session, principal_id=who, draft=draft)

    async def quote(self, who: str, amount: str, source: str = "EUR") -> quotes.Quote:
        """A payment quote: EUR to Mexico, or USDC to Europe."""
        draft = quotes.QuoteDraft.parse(
            self.assets,
            source_asset=source,
            target_asset="MXN" if source == "EUR" else "EUR",
            kind="payment",
            source_amount=amount,
        )
        async with self.db.transaction() as session:
            return await quotes.create(session, assets=self.assets, principal_id=who, draft=draft)

    async def send(
        self, who: str, quote_id: str, recipient_id: str, *, purpose: str = "family_support"
    ) -> payments.Payment:
        """`POST /v1/payments`."""
        draft = payments.PaymentDraft(quote_id, recipient_id, purpose, reference="For the roof")
        async with self.db.transaction() as session:
            return await payments.create(session, assets=self.assets, principal_id=who, draft=draft)

    async def pay(self, who: str, amount: str, source: str = "EUR") -> payments.Payment:
        """Quote, recipient and payment in one."""
        made = await self.quote(who, amount, source)
        to = await self.recipient(who, "clabe" if source == "EUR" else "iban")
        return await self.send(who, made.id, to.id)

    async def see(self, payment: payments.Payment) -> payments.Payment:
        """The payment as it is now."""
        async with self.db.transaction() as session:
            return await payments.get(
                session,
                assets=self.assets,
                principal_id=payment.principal_id,
                payment_id=payment.id,
            )

    async def cancel(self, payment: payments.Payment) -> payments.Payment:
        """`POST /v1/payments/{id}/cancel`."""
        async with self.db.transaction() as session:
            return await payments.cancel(
                session,
                assets=self.assets,
                principal_id=payment.principal_id,
                payment_id=payment.id,
            )

    async def finish(self, payment: payments.Payment) -> payments.Payment:
        """Work and wait as the worker does, until the payment has ended."""
        for _ in range(ROUNDS_LIMIT):
            await self.tasks.advance(payment.id)
            now = await self.see(payment)
            if now.ended_at is not None:
                await self.reader.tick()
                return now
            await self.advance(PROCESSING_SECONDS)
        raise AssertionError(f"the payment still waits for {now.waiting_for}")

    async def bank_is_off_by(self) -> dict[str, int]:
        """Accounts whose reconciliation is not clean, with their difference."""
        lines = await bank_lines(self.db)
        return {line.account: line.difference for line in lines if not line.balanced}

    async def bank_payouts(self, reference: str) -> list[int]:
        """Every movement the bank shows for one reference."""
        async with self.db.transaction() as session:
            rows = await session.execute(
                text(
                    "SELECT amount_minor FROM simbank.statement WHERE reference = :reference"
                    " ORDER BY id"
                ),
                {"reference": reference},
            )
            return [int(amount) for amount in rows.scalars()]

    async def bank_credits(self) -> int:
        """How many incoming transfers the bank shows."""
        async with self.db.transaction() as session:
            found = await session.execute(
                text("SELECT count(*) FROM simbank.statement WHERE kind = 'credit'")
            )
            return int(found.scalar_one())

    async def assert_sound(self) -> None:
        """Books sum to zero, nothing is in transit, and the bank agrees."""
        assert await self.imbalance() == {}
        assert await self.in_transit() == {}
        assert await self.bank_is_off_by() == {}

"""Moving payments on: one transition a transaction, the bank asked with none open.

`advance` may run any number of times, at once or after a death anywhere: the row is locked for each
step, and the bank knows the order by one reference made with the payment. That it is to be told is
committed before it is told; ever after it is asked first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

import structlog
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import clock, jobs, outbox
from wallet.crashpoints import hit
from wallet.db import Database
from wallet.fx.corridors import corridor
from wallet.money import AssetBook
from wallet.payments import gate, reading, repository
from wallet.payments.books import PaymentBooks, notice
from wallet.payments.service import ADVANCE, books_of, end
from wallet.payments.states import TERMINAL, Status, check_move
from wallet.payments.views import Payment
from wallet.payouts import repository as payouts
from wallet.payouts.rails import BankAnswer, BankSilent, PayoutOrder, Rail

TICK_SECONDS = 1
DUE = (
    f"EXISTS (SELECT FROM payments WHERE ended_at IS NULL AND {clock.due('next_try_at')}) OR"
    " EXISTS (SELECT FROM payouts o WHERE o.contradicted_at IS NOT NULL AND NOT EXISTS ("
    "SELECT FROM payment_events e WHERE e.payment_id = o.ref AND e.type = 'bank.contradicted'))"
)
SWEEP_BATCH = 100
ASK_AGAIN_SECONDS = 2
ASK_SELDOM_SECONDS = 30
PATIENCE_SECONDS = 300  # after this long a silent bank is asked seldom

log = structlog.get_logger(__name__)

Step = Callable[[AsyncSession, Payment], Awaitable[None]]


class PaymentTasks:
    """The job `payments.advance` and the sweep behind it."""

    def __init__(self, db: Database, assets: AssetBook, rails: Mapping[str, Rail]) -> None:
        self._db = db
        self._assets = assets
        self._rails = rails
        # What leads on from each state without the bank.
        self._steps: dict[Status, tuple[Status, Step]] = {
            "funded": ("converted", self._convert),
            "converted": ("settling", self._settle),
            "settling": ("paying_out", self._hand_over),
        }

    async def advance(self, payment_id: str) -> None:
        """Go on as far as possible now. Does nothing to a payment that has ended."""
        known: bool | None = None
        while True:
            try:
                await self._go_on(payment_id, known)
                return
            except gate.AskFirst as first:
                known = await self._known(first.payment)
            if known is None:
                return  # the sweep comes again

    async def _go_on(self, payment_id: str, known: bool | None) -> None:
        """`known` as in `gate.stays`. Raises AskFirst."""
        while True:
            async with self._db.transaction() as session:
                row = await repository.lock(session, payment_id)
                if row is None or row["status"] in TERMINAL:
                    return
                if row["status"] == "paying_out":
                    break
                if not await self._step(session, row, known):
                    return
        await self._ask_bank(payment_id, known)

    async def _known(self, payment: Payment) -> bool | None:
        """Whether the bank has the order; None while it is silent."""
        try:
            return await self._rails[payment.rail].query(_order(payment).reference) is not None
        except BankSilent:
            log.info("payment.bank_silent", payment=payment.id)
            return None

    async def tick(self) -> None:
        """Promise work on every open payment whose time has come."""
        async with self._db.transaction() as session:
            for payment_id in await repository.take_due(session, limit=SWEEP_BATCH):
                await jobs.enqueue(
                    session, ADVANCE, once=f"{ADVANCE}:{payment_id}", payment_id=payment_id
                )
            for payment_id in await repository.contradicted(session, limit=SWEEP_BATCH):
                await repository.add_event(
                    session,
                    payment_id=payment_id,
                    type_="bank.contradicted",
                    detail="The bank did otherwise than it had said; an operator looks at it.",
                )

    async def _step(
        self, session: AsyncSession, row: RowMapping, known: bool | None = None
    ) -> bool:
        """One transition. False when it does not go on now."""
        after, step = self._steps[row["status"]]
        check_move(row["status"], after)
        (payment,) = await reading.whole(session, [row], self._assets)
        if await gate.stays(session, payment, row, self._books(payment), known=known):
            return False
        await step(session, payment)
        await repository.set_status(session, payment_id=payment.id, status=after, ended=False)
        await outbox.put(session, notice(payment_id=payment.id, quote=payment.quote, status=after))
        return True

    def _books(self, payment: Payment) -> PaymentBooks:
        return books_of(payment.id, payment.quote, corridor(self._assets, payment.corridor))

    async def _convert(self, session: AsyncSession, payment: Payment) -> None:
        await self._books(payment).converted(session)
        await repository.set_leg(session, payment_id=payment.id, kind="conversion", status="done")
        await _event(session, payment, "converted", f"{payment.target} at {payment.quote.rate}.")

    async def _settle(self, session: AsyncSession, payment: Payment) -> None:
        # The rail pays from our own account there: nothing has to be moved first.
        await repository.set_leg(
            session, payment_id=payment.id, kind="settlement", status="skipped"
        )
        await _event(session, payment, "settling", "Paid from our own account abroad.")

    async def _hand_over(self, session: AsyncSession, payment: Payment) -> None:
        """Write the order down and the money as the rail's: from now on only the bank ends it."""
        await self._books(payment).submitted(session)
        await payouts.insert(session, _order(payment), ref=payment.id)
        await _event(session, payment, "paying_out", f"By {payment.rail.upper()}.")

    async def _ask_bank(self, payment_id: str, known: bool | None) -> None:
        """Tell the bank the first time; later ask, and tell again only what it never heard of."""
        async with self._db.transaction() as session:
            row = await repository.lock(session, payment_id)
            if row is None or row["status"] != "paying_out":
                return
            (payment,) = await reading.whole(session, [row], self._assets)
            order, rail = _order(payment), self._rails[payment.rail]
            untold = not await payouts.is_told(session, reference=order.reference)
            books = self._books(payment)
            if untold and await gate.stays(session, payment, row, books, known=known):
                return
            first = await payouts.mark_told(session, reference=order.reference)
        answer: BankAnswer | None = None
        try:
            if not first:
                hit("payment.before_query")
                answer = await rail.query(order.reference)
                hit("payment.after_query")
            if answer is None:
                hit("payment.before_submit")
                answer = await rail.submit(order)
                hit("payment.after_submit")
        except BankSilent:
            log.info("payment.bank_silent", payment=payment_id)
        await self.hear(payment_id, answer)

    async def hear(self, payment_id: str, answer: BankAnswer | None) -> None:
        """Write down what the bank said, None for silence. A payment that has ended stays ended."""
        async with self._db.transaction() as session:
            row = await repository.lock(session, payment_id)
            if row is None or row["status"] != "paying_out":
                return
            (payment,) = await reading.whole(session, [row], self._assets)
            if answer is None:
                await self._wait(session, payment, row, "bank_answer")
            else:
                await payouts.record_answer(
                    session, reference=_order(payment).reference, answer=answer
                )
                await self._apply(session, payment, row, answer)

    async def _apply(
        self, session: AsyncSession, payment: Payment, row: RowMapping, answer: BankAnswer
    ) -> None:
        books = self._books(payment)
        if answer.status == "accepted":
            await repository.set_leg(
                session, payment_id=payment.id, kind="payout", status="submitted"
            )
            await self._wait(session, payment, row, "bank_settlement")
        elif answer.status == "settled":
            check_move("paying_out", "completed")
            await books.completed(session, at=answer.at)
            await repository.set_leg(session, payment_id=payment.id, kind="payout", status="done")
            await end(session, payment, "completed")
        elif answer.status == "returned":
            check_move("paying_out", "returned")
            refund = await books.returned(session, at=answer.at)
            await repository.set_leg(
                session, payment_id=payment.id, kind="payout", status="returned"
            )
            await end(session, payment, "returned", refund_minor=refund.minor, reason=answer.reason)
        else:
            check_move("paying_out", "failed")
            refund = await books.failed(session)
            await repository.set_leg(session, payment_id=payment.id, kind="payout", status="failed")
            await end(session, payment, "failed", refund_minor=refund.minor, reason=answer.reason)

    async def _wait(
        self, session: AsyncSession, payment: Payment, row: RowMapping, waiting_for: str
    ) -> None:
        """Wait where people can see it: for what, until when, and what we do if that passes."""
        told = {event.type: event.at for event in payment.events}
        handed_over = told["payment.paying_out"]
        patience = corridor(self._assets, payment.corridor).answer_within_seconds
        until = handed_over + timedelta(seconds=patience)
        if payment.waiting_for != waiting_for:
            detail = {
                "bank_answer": "The bank does not answer; we keep asking by the same reference.",
                "bank_settlement": "The bank has taken the order.",
            }[waiting_for]
            await repository.add_event(
                session, payment_id=payment.id, type_=f"waiting.{waiting_for}", detail=detail
            )
            await outbox.put(
                session,
                notice(payment_id=payment.id, quote=payment.quote, status="waiting"),
            )
        if row["now"] > until and "payment.overdue" not in told:
            log.warning("payment.overdue", payment=payment.id)
            await repository.add_event(
                session,
                payment_id=payment.id,
                type_="payment.overdue",
                detail="Later than the rail promises; an operator has been told.",
            )
        young = row["now"] - handed_over < timedelta(seconds=PATIENCE_SECONDS)
        await repository.wait(
            session,
            payment_id=payment.id,
            waiting_for=waiting_for,
            until=until,
            again_in_seconds=ASK_AGAIN_SECONDS if young else ASK_SELDOM_SECONDS,
        )


def _order(payment: Payment) -> PayoutOrder:
    """The order as the bank gets it: the same for ever, since nothing it is made of changes."""
    leg = next(leg for leg in payment.legs if leg.kind == "payout")
    assert leg.reference is not None
    recipient = payment.recipient
    return PayoutOrder(
        reference=leg.reference,
        rail=payment.rail,
        money=leg.money,
        beneficiary={
            "name": recipient.name,
            "country": recipient.country,
            "type": recipient.type,
            **recipient.details,
        },
        remittance=payment.reference or "",
    )


async def _event(session: AsyncSession, payment: Payment, status: Status, detail: str) -> None:
    await repository.add_event(
        session, payment_id=payment.id, type_=f"payment.{status}", detail=detail
    )

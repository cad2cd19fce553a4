"""The last question before a bank hears of a payment: may this money leave?

Not while its owner owes the house, and not long after its quote, as a rate is promised for a time:
then it ends, and everything returns. Not while the auditor holds back one of its assets: then it
waits, and goes on when an operator has looked. Once the bank may have heard of the order, only the
bank's own word counts: it is asked before anything ends, as a restored database does not know what
was told.
"""

from __future__ import annotations

from datetime import timedelta

import structlog
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import outbox, pauses
from wallet.crashpoints import hit
from wallet.payments import repository
from wallet.payments.books import PaymentBooks, notice
from wallet.payments.service import call_off, end
from wallet.payments.states import check_move
from wallet.payments.views import Payment
from wallet.receivables import MONEY_OWED, owes

REVIEW = "review"
TOO_LATE = "quote_expired"
LATE_AFTER_SECONDS = 900
"""So long after its quote's end, at most, a payment still leaves at that quote's rate."""
LOOK_AGAIN_SECONDS = 2
LOOK_SELDOM_SECONDS = 30
PATIENCE_SECONDS = 300  # one that waits for longer than this is looked at seldom
log = structlog.get_logger(__name__)


class AskFirst(Exception):
    """It is to end here, if its bank does not know of it."""

    def __init__(self, payment: Payment) -> None:
        super().__init__(payment.id)
        self.payment = payment


async def stays(
    session: AsyncSession,
    payment: Payment,
    row: RowMapping,
    books: PaymentBooks,
    *,
    known: bool | None,
) -> bool:
    """Whether it does not go on now: ended or put off here. `row` is locked, its bank untold as far
    as these books know.

    `known`: whether the bank says that it has the order; None: it was not asked. Raises AskFirst.
    """
    if known:
        return False
    late = row["now"] > payment.quote.expires_at + timedelta(seconds=LATE_AFTER_SECONDS)
    owing = await owes(session, payment.principal_id)
    if owing or late:
        if known is None:
            raise AskFirst(payment)
        await _end(session, payment, row, books, MONEY_OWED if owing else TOO_LATE)
        return True
    assets = {payment.source.asset.code, payment.target.asset.code}
    # What is only converted stays inside; the bank is told of nothing.
    leaves = payment.status in ("settling", "paying_out")
    if not leaves or not await pauses.any_paused(session, assets):
        return False
    await _put_off(session, payment, row)
    return True


async def _end(
    session: AsyncSession, payment: Payment, row: RowMapping, books: PaymentBooks, reason: str
) -> None:
    if payment.status == "paying_out":
        check_move(row["status"], "failed")
        refund = await books.failed(session)
        await repository.set_leg(session, payment_id=payment.id, kind="payout", status="failed")
        await end(session, payment, "failed", refund_minor=refund.minor, reason=reason)
    else:
        check_move(row["status"], "cancelled")
        await call_off(session, payment, books, reason=reason)
    log.warning("payment.called_off", payment=payment.id, reason=reason)
    hit("payment.before_commit_owed")


async def _put_off(session: AsyncSession, payment: Payment, row: RowMapping) -> None:
    if payment.waiting_for != REVIEW:
        await repository.add_event(
            session, payment_id=payment.id, type_=f"waiting.{REVIEW}",
            detail="A person looks at it before it is sent.",
        )  # fmt: skip
        await outbox.put(
            session, notice(payment_id=payment.id, quote=payment.quote, status="waiting")
        )
        log.warning("payment.put_off", payment=payment.id)
    young = row["now"] - row["created_at"] < timedelta(seconds=PATIENCE_SECONDS)
    await repository.wait(
        session, payment_id=payment.id, waiting_for=REVIEW, until=None,
        again_in_seconds=LOOK_AGAIN_SECONDS if young else LOOK_SELDOM_SECONDS,
    )  # fmt: skip

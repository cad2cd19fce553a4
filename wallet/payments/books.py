"""What each step of a payment books: the only place that knows its accounts.

funded      customer -> payments:in_transit                          (source asset)
converted   in_transit or customer -> position, spread, fee; position -> in_transit (target)
paying_out  payments:in_transit -> payouts:<rail>:in_transit          (target)
completed   payouts:<rail>:in_transit -> bank
returned    as completed, then bank -> position, position and spread -> customer, fee kept
failed      payouts:<rail>:in_transit -> position; position, spread, fee -> customer
cancelled   in_transit -> back the way it came, fee too
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from wallet import ledger
from wallet.fx.exchange_lines import exchange_lines, undo_lines
from wallet.fx.quotes import Quote
from wallet.ledger import AccountSpec, Line
from wallet.ledger.accounts import (
    bank,
    customer,
    payments_in_transit,
    payout_in_transit,
    unattributed,
)
from wallet.ledger.errors import AccountClosed
from wallet.money import Money
from wallet.outbox import Notice


class PaymentBooks:
    """The entries of one payment. Every method posts in the caller's transaction."""

    def __init__(self, *, payment_id: str, quote: Quote, rail: str, bank_name: str) -> None:
        self._id = payment_id
        self._quote = quote
        self._payer = customer(quote.principal_id, quote.source.asset.code)
        self._source_transit = payments_in_transit(quote.source.asset.code)
        self._target_transit = payments_in_transit(quote.target.asset.code)
        self._payout_transit = payout_in_transit(rail, quote.target.asset.code)
        self._bank = bank(bank_name, quote.target.asset.code)

    async def funded(self, session: AsyncSession) -> None:
        """The payer's money is set on its way."""
        lines = _move(self._payer, self._source_transit, self._quote.source)
        await self._post(session, "payment.funded", lines)

    async def funded_and_converted(self, session: AsyncSession) -> None:
        """From crypto: one entry, so that nobody holds the coin's risk in between."""
        lines = exchange_lines(self._quote, giver=self._payer, taker=self._target_transit)
        await self._post(session, "payment.converted", lines)

    async def converted(self, session: AsyncSession) -> None:
        """Fee and spread are earned, the target stands ready."""
        lines = exchange_lines(self._quote, giver=self._source_transit, taker=self._target_transit)
        await self._post(session, "payment.converted", lines)

    async def submitted(self, session: AsyncSession) -> None:
        """The money is the rail's to answer for."""
        lines = _move(self._target_transit, self._payout_transit, self._quote.target)
        await self._post(session, "payment.submitted", lines)

    async def completed(self, session: AsyncSession, *, at: datetime) -> None:
        """The bank paid."""
        lines = _move(self._payout_transit, self._bank, self._quote.target)
        await self._post(session, "payment.completed", lines, at)

    async def returned(self, session: AsyncSession, *, at: datetime) -> Money:
        """The bank paid and got it back: undone at the original rate, the fee stays earned."""
        paid = _move(self._payout_transit, self._bank, self._quote.target)
        await self._post(session, "payment.paid", paid, at)
        return await self._undo(session, "payment.returned", self._bank, keep_fees=True, at=at)

    async def failed(self, session: AsyncSession) -> Money:
        """The bank never took it: all goes back."""
        return await self._undo(session, "payment.failed", self._payout_transit, keep_fees=False)

    async def cancelled(self, session: AsyncSession, *, converted: bool) -> Money:
        """Before the bank heard of it: all goes back."""
        if converted:
            return await self._undo(
                session, "payment.cancelled", self._target_transit, keep_fees=False
            )
        back = self._quote.source
        await self._refund(
            session,
            "payment.cancelled",
            lambda payer: _move(self._source_transit, payer, back),
        )
        return back

    async def _undo(
        self,
        session: AsyncSession,
        kind: str,
        giver: AccountSpec,
        *,
        keep_fees: bool,
        at: datetime | None = None,
    ) -> Money:
        quote = self._quote
        await self._refund(
            session,
            kind,
            lambda payer: undo_lines(quote, giver=giver, taker=payer, keep_fees=keep_fees),
            at,
        )
        kept = quote.fee_minor if keep_fees else 0
        return Money(quote.source.minor - kept, quote.source.asset)

    async def _refund(
        self,
        session: AsyncSession,
        kind: str,
        lines_to: Callable[[AccountSpec], list[Line]],
        at: datetime | None = None,
    ) -> None:
        """Back to the payer; a payer whose account is closed by now has it kept aside."""
        try:
            await self._post(session, kind, lines_to(self._payer), at)
        except AccountClosed:
            aside = unattributed("payments", self._quote.source.asset.code)
            await self._post(session, kind, lines_to(aside), at)

    async def _post(
        self, session: AsyncSession, kind: str, lines: list[Line], at: datetime | None = None
    ) -> None:
        await ledger.post(
            session,
            ledger.Command(
                kind=kind,
                ref=self._id,
                lines=lines,
                event_at=at,
                meta={"quote_id": self._quote.id, "rate": self._quote.rate},
            ),
        )


def _move(giver: AccountSpec, taker: AccountSpec, money: Money) -> list[Line]:
    """`money` from one account's credit to another's."""
    return [Line(giver, Money(-money.minor, money.asset)), Line(taker, money)]


def notice(*, payment_id: str, quote: Quote, status: str, reason: str | None = None) -> Notice:
    """What the payer and their webhooks hear of a move."""
    data = {
        "payment_id": payment_id,
        "status": status,
        "source": quote.source.json(),
        "target": quote.target.json(),
    }
    if reason is not None:
        data["reason"] = reason
    return Notice(quote.principal_id, f"payment.{status}", payment_id, data)

"""The simulated bank: another company's computer, in its own schema, with its own commits.

It is a real counterparty in all but money: it takes an order once by reference, debits our account,
settles or returns it some seconds later, keeps a statement, and misbehaves on demand
(`payout_rejected`, `payout_refused`, `payout_silent`).
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import faults
from wallet.db import Database
from wallet.money import Money
from wallet.payouts.rails import BankAnswer, BankSilent, PayoutOrder, ReferenceReused, StatementLine

BANK = "simbank"
TICK_SECONDS = 1
DUE = "EXISTS (SELECT FROM simbank.orders WHERE status = 'accepted' AND due_at <= bifold_now())"
PROCESSING_SECONDS = 2
DUE_BATCH = 200
RETURN_REASON = "AC04 The account abroad is closed."
REFUSAL_REASON = "AC01 The bank does not take this account number."
NO_MONEY_REASON = "AM04 Insufficient funds on the ordering account."


class SimulatedBank:
    """One bank with one account per asset. Every method is one transaction of the bank's own."""

    bank = BANK
    title = "Simulated Bank"
    simulated = True

    def __init__(self, db: Database) -> None:
        self._db = db

    def account_number(self, asset: str) -> str:
        """See `Rail.account_number`."""
        return f"SIM-{asset}"

    async def submit(self, order: PayoutOrder) -> BankAnswer:
        """See `Rail.submit`. The answer may be withheld after the order was taken."""
        async with self._db.transaction() as session:
            known = await _order(session, order.reference, lock=True)
            if known is None:
                known = await self._take(session, order)
            elif not _same(known, order):
                raise ReferenceReused("The bank has another order by this reference.")
            silent = await faults.enabled(session, "payout_silent")
        if silent:
            raise BankSilent("The bank does not answer.")
        return _answer(known)

    async def query(self, reference: str) -> BankAnswer | None:
        """See `Rail.query`."""
        async with self._db.transaction() as session:
            await self._finish_due(session)
            known = await _order(session, reference)
            if await faults.enabled(session, "payout_silent"):
                raise BankSilent("The bank does not answer.")
        return _answer(known) if known is not None else None

    async def statement(self, asset: str, *, after: int, limit: int) -> Sequence[StatementLine]:
        """See `Rail.statement`. The statement speaks even when the bank's people do not."""
        async with self._db.transaction() as session:
            return await read_statement(session, asset, after=after, limit=limit)

    async def assets(self) -> Sequence[str]:
        """See `Rail.assets`."""
        async with self._db.transaction() as session:
            rows = await session.execute(text("SELECT asset FROM simbank.accounts ORDER BY asset"))
            return list(rows.scalars())

    async def tick(self) -> None:
        """The bank at work: what is due is settled or returned."""
        async with self._db.transaction() as session:
            await self._finish_due(session)

    async def open_account(self, money: Money) -> None:
        """Open our account in an asset with this first deposit. Again changes nothing."""
        async with self._db.transaction() as session:
            await _ensure_account(session, money.asset.code)
            reference = f"opening:{money.asset.code}"
            if money.minor and not await _has_line(session, "opening", reference):
                await _move(session, money.asset.code, money.minor, "opening", reference, "capital")

    async def receive(
        self, *, reference: str, money: Money, about: str, another: bool = False
    ) -> None:
        """Somebody's transfer reaches our account; `about` is their text. Once a reference, unless
        it is `another` transfer to which the bank gives a reference it has given before."""
        async with self._db.transaction() as session:
            await _ensure_account(session, money.asset.code)
            if another or not await _has_line(session, "credit", reference):
                await _move(session, money.asset.code, money.minor, "credit", reference, about)

    async def contradict(self, reference: str) -> None:
        """The bank changes its mind after its last word, as banks do (tests and drills).

        A refused order is paid after all, a settled one comes back, a returned one goes out again.
        """
        async with self._db.transaction() as session:
            order = await _order(session, reference, lock=True)
            if order is None or order["status"] == "accepted":
                raise ValueError("the bank has not said its last word yet")
            amount = int(order["amount_minor"])
            kind, change, status = {
                "refused": ("payout", -amount, "settled"),
                "settled": ("return", amount, "returned"),
                "returned": ("correction", -amount, "settled"),
            }[order["status"]]
            await _move(session, order["asset"], change, kind, reference, "late")
            await _end(session, reference, status, None)

    async def _take(self, session: AsyncSession, order: PayoutOrder) -> RowMapping:
        await _ensure_account(session, order.money.asset.code)
        account = (
            await session.execute(
                text(
                    "SELECT balance_minor FROM simbank.accounts WHERE asset = :asset"
                    " FOR NO KEY UPDATE"
                ),
                {"asset": order.money.asset.code},
            )
        ).one()
        reason = None
        if await faults.enabled(session, "payout_refused"):
            reason = REFUSAL_REASON
        elif account.balance_minor < order.money.minor:
            reason = NO_MONEY_REASON
        row = await session.execute(
            text(
                "INSERT INTO simbank.orders (reference, rail, asset, amount_minor, beneficiary,"
                " remittance, status, will_return, reason, due_at, ended_at) VALUES (:reference,"
                " :rail, :asset, :amount, CAST(:beneficiary AS jsonb), :remittance, :status,"
                " :will_return, :reason, bifold_now() + :wait * interval '1 second',"
                " CASE WHEN :status = 'refused' THEN bifold_now() END) RETURNING *"
            ),
            {
                "reference": order.reference,
                "rail": order.rail,
                "asset": order.money.asset.code,
                "amount": order.money.minor,
                "beneficiary": orjson.dumps(dict(order.beneficiary)).decode(),
                "remittance": order.remittance,
                "status": "accepted" if reason is None else "refused",
                "will_return": await faults.enabled(session, "payout_rejected"),
                "reason": reason,
                "wait": PROCESSING_SECONDS,
            },
        )
        if reason is None:
            code = order.money.asset.code
            await _move(session, code, -order.money.minor, "payout", order.reference, order.rail)
        return row.mappings().one()

    async def _finish_due(self, session: AsyncSession) -> None:
        rows = await session.execute(
            text(
                "SELECT reference, asset, amount_minor, will_return FROM simbank.orders"
                " WHERE status = 'accepted' AND due_at <= bifold_now()"
                " ORDER BY asset, due_at, reference LIMIT :batch FOR UPDATE SKIP LOCKED"
            ),
            {"batch": DUE_BATCH},
        )
        for order in rows.all():
            if order.will_return:
                amount = int(order.amount_minor)
                await _move(session, order.asset, amount, "return", order.reference, RETURN_REASON)
                await _end(session, order.reference, "returned", RETURN_REASON)
            else:
                await _end(session, order.reference, "settled", None)


async def read_statement(
    session: AsyncSession, asset: str, *, after: int = 0, limit: int | None = None
) -> list[StatementLine]:
    """The statement as of the caller's snapshot."""
    rows = await session.execute(
        text(
            "SELECT id, asset, kind, reference, amount_minor, balance_after_minor, about, at"
            " FROM simbank.statement WHERE asset = :asset AND id > :after ORDER BY id LIMIT :limit"
        ),
        {"asset": asset, "after": after, "limit": limit},
    )
    return [
        StatementLine(
            row.id,
            row.asset,
            row.kind,
            row.reference,
            int(row.amount_minor),
            int(row.balance_after_minor),
            row.about,
            row.at,
        )
        for row in rows
    ]


async def account_balances(session: AsyncSession) -> dict[str, int]:
    """What the bank says we have, by asset, as of the caller's snapshot."""
    rows = await session.execute(text("SELECT asset, balance_minor FROM simbank.accounts"))
    return {row.asset: int(row.balance_minor) for row in rows}


async def _ensure_account(session: AsyncSession, asset: str) -> None:
    await session.execute(
        text(
            "INSERT INTO simbank.accounts (asset, number) VALUES (:asset, 'SIM-' || :asset)"
            " ON CONFLICT DO NOTHING"
        ),
        {"asset": asset},
    )
    # Every movement of an account queues here, so its lines commit in the order of their ids.
    await session.execute(
        text("SELECT 1 FROM simbank.accounts WHERE asset = :asset FOR NO KEY UPDATE"),
        {"asset": asset},
    )


async def _has_line(session: AsyncSession, kind: str, reference: str) -> bool:
    found = await session.scalar(
        text(
            "SELECT 1 FROM simbank.statement WHERE kind = :kind AND reference = :reference LIMIT 1"
        ),
        {"kind": kind, "reference": reference},
    )
    return found is not None


async def _move(
    session: AsyncSession, asset: str, amount_minor: int, kind: str, reference: str, about: str
) -> None:
    """Change the balance and write the line that says so."""
    await session.execute(
        text(
            "WITH moved AS (UPDATE simbank.accounts SET balance_minor = balance_minor + :amount"
            "  WHERE asset = :asset RETURNING balance_minor)"
            " INSERT INTO simbank.statement"
            "  (asset, kind, reference, amount_minor, balance_after_minor, about)"
            " SELECT :asset, :kind, :reference, :amount, balance_minor, :about FROM moved"
        ),
        {
            "asset": asset,
            "amount": amount_minor,
            "kind": kind,
            "reference": reference,
            "about": about,
        },
    )


async def _order(session: AsyncSession, reference: str, *, lock: bool = False) -> RowMapping | None:
    if lock:  # two deliveries of one order queue here; the second finds the first's row
        await session.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended('simbank/' || :reference, 0))"),
            {"reference": reference},
        )
    row = await session.execute(
        text("SELECT * FROM simbank.orders WHERE reference = :reference"),
        {"reference": reference},
    )
    return row.mappings().one_or_none()


async def _end(session: AsyncSession, reference: str, status: str, reason: str | None) -> None:
    await session.execute(
        text(
            "UPDATE simbank.orders SET status = :status, reason = :reason, ended_at = bifold_now()"
            " WHERE reference = :reference"
        ),
        {"reference": reference, "status": status, "reason": reason},
    )


def _same(known: RowMapping, order: PayoutOrder) -> bool:
    return (
        known["rail"] == order.rail
        and known["asset"] == order.money.asset.code
        and int(known["amount_minor"]) == order.money.minor
        and known["beneficiary"] == dict(order.beneficiary)
    )


def _answer(order: RowMapping) -> BankAnswer:
    return BankAnswer(
        status=order["status"],
        at=order["ended_at"] or order["received_at"],
        reason=order["reason"],
    )

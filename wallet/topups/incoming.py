"""Bank transfers that come in: whose they are, and the top-up they are.

The statement's reader calls `IncomingTransfers.take` in the transaction that keeps the line. A
transfer that names a person by their reference is theirs at once: it fulfils what they announced
of exactly that amount, or is a top-up by itself. One that names nobody waits for an operator.
A transfer is its line on the statement: a bank may give its own reference to several.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import cases, ledger
from wallet.crashpoints import hit
from wallet.db import Database
from wallet.ids import is_id, new_id
from wallet.ledger import accounts
from wallet.ledger.errors import AccountClosed
from wallet.money import AssetBook, Money
from wallet.payouts import SimulatedBank, StatementReader
from wallet.payouts import repository as payouts
from wallet.payouts.rails import StatementLine
from wallet.topups import booking, repository, service
from wallet.topups.references import owner_of, reference_of
from wallet.topups.views import Topup


class IncomingTransfers:
    """What the statement's reader does with money that came in."""

    async def take(
        self, session: AsyncSession, bank: str, line: StatementLine, money: Money
    ) -> None:
        """Book one credit of the statement. Once a line: the caller sees to that."""
        owner = await owner_of(session, line.about) if money.minor > 0 else None
        if owner is not None:
            try:
                await self._credit(session, bank, line, money, owner)
            except AccountClosed:
                owner = None
        if owner is None:
            await self._keep_aside(session, bank, line, money)
        hit("bank_credit.taken")

    async def _credit(
        self, session: AsyncSession, bank: str, line: StatementLine, money: Money, owner: str
    ) -> None:
        announced = await repository.announced(
            session, principal_id=owner, asset=line.asset, amount_minor=money.minor
        )
        if announced is not None:
            topup_id = announced["id"]
        elif is_id(line.reference, "top") and not await repository.known(session, line.reference):
            topup_id = line.reference
        else:  # a sender may write what they like: also the id of a top-up there is
            topup_id = new_id("top")
        entry_id = await booking.post(
            session,
            ledger.Command(
                kind="topup",
                ref=topup_id,
                event_at=line.at,
                lines=booking.movement(
                    accounts.bank(bank, line.asset), accounts.customer(owner, line.asset), money
                ),
                meta={"bank": bank, "line_id": line.line_id, "bank_reference": line.reference},
                notices=[service.notice(owner, topup_id, money, "bank_transfer", "succeeded")],
            ),
        )
        if announced is not None:
            await repository.end(session, announced, "succeeded", entry_id=entry_id)
        else:
            await succeeded(session, topup_id, owner, money, entry_id)
        await payouts.insert_credit(
            session, line, bank=bank, principal_id=owner, entry_id=entry_id, topup_id=topup_id
        )

    async def _keep_aside(
        self, session: AsyncSession, bank: str, line: StatementLine, money: Money
    ) -> None:
        entry_id = await booking.post(
            session,
            ledger.Command(
                kind="bank.unattributed",
                ref=line.reference,
                event_at=line.at,
                lines=booking.movement(
                    accounts.bank(bank, line.asset), accounts.unattributed(bank, line.asset), money
                ),
                meta={"bank": bank, "line_id": line.line_id},
            ),
        )
        if money.minor < 0:  # the bank took a credit back by itself: a case, and nobody's to have
            stray = f"{line.reference}/{line.line_id}"
        else:
            stray = new_id("una")
            await session.execute(
                text(
                    "INSERT INTO bank_strays (id, bank, line_id, bank_reference, asset,"
                    " amount_minor, about, entry_id) VALUES (:id, :bank, :line, :reference, :asset,"
                    " :amount, :about, :entry)"
                ),
                {
                    "id": stray,
                    "bank": bank,
                    "line": line.line_id,
                    "reference": line.reference,
                    "asset": line.asset,
                    "amount": money.minor,
                    "about": line.about,
                    "entry": entry_id,
                },
            )
        await cases.open_case(
            session,
            kind="transfer_unattributed",
            subject=stray,
            asset=line.asset,
            what=f"A bank transfer of {money} names nobody here.",
            evidence={"amount_minor": str(money.minor), "bank_reference": line.reference},
        )


async def succeeded(
    session: AsyncSession, topup_id: str, owner: str, money: Money, entry_id: str
) -> None:
    """A transfer that nobody announced is a top-up that has succeeded."""
    now = await session.scalar(text("SELECT bifold_now()"))
    await repository.insert(
        session,
        {
            "id": topup_id,
            "principal_id": owner,
            "method": "bank_transfer",
            "asset": money.asset.code,
            "amount_minor": money.minor,
            "status": "succeeded",
            "entry_id": entry_id,
            "ended_at": now,
        },
    )


async def bank_credit(
    db: Database,
    bank: SimulatedBank,
    assets: AssetBook,
    *,
    principal_id: str,
    money: Money,
    words: str | None = None,
) -> Topup | None:
    """Sandbox: somebody's transfer arrives, on the bank's statement first and then in our books.

    `words`: what is written on it; without, the person's own reference. None: it names nobody and
    is kept aside. A death in between is made good by the next reading of the statement.
    Raises AccountClosed when it could not be credited to its owner.
    """
    named = words is None
    if words is None:
        async with db.transaction() as session:
            words = await reference_of(session, principal_id)
    reference = new_id("top")
    await bank.receive(reference=reference, money=money, about=words)
    hit("bank_credit.received")
    await StatementReader(db, bank, assets, IncomingTransfers()).tick()
    async with db.transaction() as session:
        row = await payouts.credit(session, reference=reference)
        if row is None and not named:
            return None
        if row is None:
            raise AccountClosed("The transfer arrived and could not be credited; it is kept aside.")
        return await service.get(
            session, assets=assets, principal_id=row["principal_id"], topup_id=row["topup_id"]
        )

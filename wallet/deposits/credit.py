"""A final deposit becomes money: one entry for each, once; some of them in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import custody, ledger, outbox
from wallet.crashpoints import hit
from wallet.db import Database
from wallet.deposits import casework, repository
from wallet.deposits.repository import DepositRow
from wallet.ledger import accounts
from wallet.ledger.accounts import AccountSpec, Place
from wallet.ledger.errors import AccountClosed, LedgerError
from wallet.money import AssetBook, Money
from wallet.outbox import Notice

TOGETHER = 50
"""Deposits booked in one transaction: anybody may be paid in thousands of parts for some gas."""
log = structlog.get_logger(__name__)


class Crediter:
    """Books final deposits of one network."""

    def __init__(self, db: Database, assets: AssetBook) -> None:
        self._db = db
        self._assets = assets

    async def credit_all(self, deposit_ids: Sequence[str]) -> None:
        """Book these, some at a time in one transaction; where the books refuse one of some, each
        of those by itself."""
        for first in range(0, len(deposit_ids), TOGETHER):
            some = deposit_ids[first : first + TOGETHER]
            if not await self._together(some):
                for deposit_id in some:
                    await self.credit(deposit_id)

    async def _together(self, deposit_ids: Sequence[str]) -> bool:
        """False: one of them is refused, nothing is booked."""
        try:
            async with self._db.transaction() as session:
                rows = await repository.lock_creditable(session, deposit_ids)
                commands = []
                for row in rows:
                    money = self._assets.money(row.asset, row.amount_minor)
                    place, counter = await self.sides(session, row)
                    commands.append(_command(row, place, counter, money, _notices(row, money)))
                if commands:
                    entries = await ledger.post_together(session, commands)
                    booked = dict(zip((row.id for row in rows), entries, strict=True))
                    await repository.set_credited(session, booked)
                hit("deposit.before_commit_credited")
        except LedgerError:
            return False
        hit("deposit.after_commit_credited")
        return True

    async def credit(self, deposit_id: str) -> bool:
        """Book one deposit if it is final, in the lineage and not booked. Safe to repeat.

        A deposit that the books refuse is left to a person; the others go on.
        """
        try:
            async with self._db.transaction() as session:
                found = await repository.lock_creditable(session, [deposit_id])
                if not found:
                    return False
                await self.book(session, found[0])
                hit("deposit.before_commit_credited")
        except LedgerError as error:
            log.error("deposit.refused_by_books", deposit=deposit_id, code=error.code)
            async with self._db.transaction() as session:
                left = await repository.quarantine(session, deposit_id, error.code)
                if left is not None:
                    await casework.set_aside(session, left, error.code)
            return False
        hit("deposit.after_commit_credited")
        return True

    async def book(self, session: AsyncSession, row: DepositRow) -> tuple[str, str]:
        """Book one that is locked, final and in no entry: its entry, and how it stands now.

        `quarantined` where its owner's account is closed: the books keep it as unattributed, and it
        is set aside. Raises LedgerError.
        """
        money = self._assets.money(row.asset, row.amount_minor)
        place, counter = await self.sides(session, row)
        try:
            entry_id = await _post(session, row, place, counter, money, _notices(row, money))
            status, reason = "credited", None
        except AccountClosed:
            # The coins are here and their owner's account takes nothing any more.
            late = accounts.unattributed(row.network, row.asset)
            entry_id = await _post(session, row, place, late, money, [])
            status, reason = "quarantined", AccountClosed.code
        await repository.set_booked(
            session, row.id, status=status, entry_id=entry_id, reason=reason
        )
        if reason is not None:
            await casework.set_aside(session, row, reason)
        return entry_id, status

    async def sides(self, session: AsyncSession, row: DepositRow) -> tuple[Place, AccountSpec]:
        """Where the coins lie, and whose they are."""
        if row.principal_id is not None:
            return "deposit", accounts.customer(row.principal_id, row.asset)
        house = await custody.house_addresses(session, network=row.network)
        known = house.get(row.to_address)
        place: Place = known if known in ("warm", "cold") else "hot"
        if row.is_move:
            return place, accounts.on_chain(row.network, row.asset, "deposit")
        if house.get(row.from_address) == "cold":
            return place, accounts.on_chain(row.network, row.asset, "cold")
        if house.get(row.from_address) == "faucet":
            return place, accounts.capital(row.asset)
        return place, accounts.unattributed("house", row.asset)


async def _post(
    session: AsyncSession,
    row: DepositRow,
    place: Place,
    counter: AccountSpec,
    money: Money,
    notices: list[Notice],
) -> str:
    entry_id = await ledger.post(session, _command(row, place, counter, money, notices))
    if entry_id is None:
        raise AssertionError("a deposit is never zero")
    return entry_id


def _command(
    row: DepositRow, place: Place, counter: AccountSpec, money: Money, notices: list[Notice]
) -> ledger.Command:
    """One entry: the asset at its place grows (a debit), what we owe for it grows (a credit)."""
    return ledger.Command(
        kind="deposit",
        ref=row.id,
        event_at=row.block_time,
        meta={"network": row.network, "tx_hash": row.tx_hash, "block": row.block_number},
        lines=[
            ledger.Line(
                accounts.on_chain(row.network, row.asset, place), Money(-money.minor, money.asset)
            ),
            ledger.Line(counter, money),
        ],
        notices=notices,
    )


def _notices(row: DepositRow, money: Money) -> list[Notice]:
    if row.principal_id is None:
        return []
    return [Notice(row.principal_id, "deposit.credited", row.id, about(row, money))]


def about(row: DepositRow, money: Money) -> dict[str, object]:
    """What a notice tells of a deposit."""
    return {
        "deposit_id": row.id,
        "money": money.json(),
        "network": row.network,
        "address": row.to_address,
        "tx_hash": row.tx_hash,
        "block_number": row.block_number,
    }


async def tell(
    session: AsyncSession, assets: AssetBook, event: str, rows: Sequence[DepositRow]
) -> None:
    """Their owners hear of it."""
    await outbox.put(session, *(
        Notice(
            row.principal_id, event, row.id, about(row, assets.money(row.asset, row.amount_minor))
        )
        for row in rows if row.principal_id is not None and row.asset in assets
    ))  # fmt: skip

"""What people owe the house, for whatever reason: taken, remembered, collected, and then forgotten.

Nobody goes below zero. Where somebody is charged for money that is not theirs after all, a deposit
that the chain lost or a card payment that was charged back, what they have is taken, the rest is
owed (`receivable:P:A`), and nothing of theirs goes out until it is repaid: their accounts are
frozen, what had not left yet is taken back, what comes in is collected, then they are opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import ledger, outbox
from wallet.crashpoints import hit
from wallet.db import Database
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.ledger.errors import LedgerError
from wallet.money import AssetBook, Money, UnknownAsset
from wallet.outbox import Notice

COLLECT_SECONDS = 5.0
COLLECT_AT_ONCE = 500
MONEY_OWED = "money_owed"
"""Why something of theirs ended that had not left yet."""
_LOCK = "hashtextextended('receivable/' || :who, 0)"
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Charged:
    """One charge: its entry, and how its amount split, in minor units of its asset."""

    entry_id: str
    taken_minor: int
    owed_minor: int


async def charge(
    session: AsyncSession,
    *,
    principal_id: str,
    money: Money,
    against: ledger.AccountSpec,
    kind: str,
    ref: str,
    meta: Mapping[str, Any],
    notices: Sequence[Notice] = (),
    event_at: datetime | None = None,
) -> Charged:
    """Take `money` (above zero) from somebody, in the caller's transaction: one entry.

    `against` +money · `customer:P:A` −what is available · `receivable:P:A` −the rest. While
    anything is owed afterwards, every account of theirs is frozen.
    """
    await _alone(session, principal_id)
    available = await _available(session, principal_id, money.asset.code)
    taken = min(money.minor, available)
    owed = money.minor - taken
    code = money.asset.code
    lines = [
        ledger.Line(against, money),
        ledger.Line(accounts.customer(principal_id, code), Money(-taken, money.asset)),
        ledger.Line(accounts.receivable(principal_id, code), Money(-owed, money.asset)),
    ]
    entry_id = await ledger.post(
        session,
        ledger.Command(
            kind=kind,
            ref=ref,
            meta=meta,
            event_at=event_at,
            lines=[line for line in lines if line.amount.minor],
            notices=notices,
        ),
    )
    if entry_id is None:
        raise AssertionError("a charge is never zero")
    await _close_again(session, principal_id)
    return Charged(entry_id, taken, owed)


async def owes(session: AsyncSession, principal_id: str) -> bool:
    """Whether they owe anything, as far as it can still be said before this transaction commits.

    Asked by whatever lets money out for good (a nonce, an order told to a bank). A charge of the
    same person waits for the caller's commit: either it is seen here, or the money had left.
    """
    await session.execute(
        text(f"SELECT pg_advisory_xact_lock_shared({_LOCK})"), {"who": principal_id}
    )
    # Before every nonce: by the index of debtors and one account's deltas, not by the view.
    found = await session.scalar(
        text(
            "SELECT EXISTS (SELECT FROM accounts a WHERE a.path LIKE 'receivable:%'"
            " AND a.path LIKE :paths AND a.balance_minor + coalesce((SELECT sum(d.amount_minor)"
            "  FROM account_deltas d WHERE d.account_id = a.id), 0) < 0)"
        ),
        {"paths": f"receivable:{principal_id}:%"},
    )
    return bool(found)


class Outgoing(Protocol):
    """A flow whose money leaves some time after it was asked for."""

    async def take_back(self, principal_id: str) -> None:
        """End what of theirs has not left and can be held back; its money is theirs again."""
        ...


class Collector:
    """Takes what people have, or gets in, who owe the house, and opens their accounts in the end.

    What they had sent on its way and has not left is taken back first.
    """

    def __init__(self, db: Database, assets: AssetBook, outgoing: Sequence[Outgoing] = ()) -> None:
        self._db = db
        self._assets = assets
        self._outgoing = outgoing
        self._behind = ""

    async def tick(self) -> None:
        """Everybody who owes something, each in a transaction of their own: COLLECT_AT_ONCE of
        them, the next time those behind. Safe to repeat."""
        async with self._db.transaction() as session:
            # Who owes and had nothing to freeze (closed, or frozen by somebody else) is among them.
            rows = await session.execute(
                text(
                    "SELECT who FROM (SELECT principal_id AS who FROM receivable_freezes"
                    " UNION SELECT split_part(a.path, ':', 2) FROM accounts a"
                    " JOIN account_balances b ON b.id = a.id"
                    " WHERE a.path LIKE 'receivable:%' AND b.balance_minor < 0) d"
                    " WHERE who > :behind ORDER BY who LIMIT :most"
                ),
                {"behind": self._behind, "most": COLLECT_AT_ONCE},
            )
            people = list(rows.scalars())
        self._behind = people[-1] if len(people) == COLLECT_AT_ONCE else ""
        for principal_id in people:
            try:
                await self._settle(principal_id)
            except (LedgerError, UnknownAsset) as error:  # one person's trouble is nobody else's
                log.error("receivable.refused", principal=principal_id, code=error.code)

    async def _settle(self, principal_id: str) -> None:
        for flow in self._outgoing:
            await flow.take_back(principal_id)
        async with self._db.transaction() as session:
            await self._collect(session, principal_id)
            hit("receivable.before_commit_collected")

    async def _collect(self, session: AsyncSession, principal_id: str) -> None:
        await _alone(session, principal_id)
        for asset, owed in (await _owed(session, principal_id)).items():
            if asset not in self._assets:
                continue  # its network was taken out of the file: that debt waits, others do not
            taken = min(owed, await _available(session, principal_id, asset))
            if taken <= 0:
                continue
            money = self._assets.money(asset, taken)
            await ledger.post(
                session,
                ledger.Command(
                    kind="receivable_collected",
                    ref=new_id("los"),
                    lines=[
                        ledger.Line(
                            accounts.customer(principal_id, asset), Money(-taken, money.asset)
                        ),
                        ledger.Line(accounts.receivable(principal_id, asset), money),
                    ],
                ),
            )
            log.warning("receivable.collected", principal=principal_id, asset=asset, minor=taken)
        await _close_again(session, principal_id)


async def _alone(session: AsyncSession, principal_id: str) -> None:
    """One charge or collection of one person at a time: who collects the last of an old debt would
    not see a new one that is about to be committed, and open every account."""
    await session.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"), {"who": principal_id})


async def _owed(session: AsyncSession, principal_id: str) -> dict[str, int]:
    """Asset → what they owe, minor units above zero."""
    rows = await session.execute(
        text(
            "SELECT asset, -balance_minor AS minor FROM account_balances"
            " WHERE path LIKE :paths AND balance_minor < 0 ORDER BY asset"
        ),
        {"paths": f"receivable:{principal_id}:%"},
    )
    return {row.asset: int(row.minor) for row in rows}


async def _available(session: AsyncSession, principal_id: str, asset: str) -> int:
    """What can be taken of this one account, locked until the commit.

    The ledger lets an account frozen for a debt be debited for it (`ledger_repays`, r0040).
    0 for one that is closed, or frozen by somebody else: that is not ours to touch.
    """
    row = (
        await session.execute(
            text(
                "SELECT id, status, status = 'open' OR (status = 'frozen' AND EXISTS"
                " (SELECT FROM receivable_freezes f WHERE f.account_id = a.id)) AS ours"
                " FROM accounts a WHERE path = :path"
            ),
            {"path": accounts.customer(principal_id, asset).path},
        )
    ).one_or_none()
    if row is None or not row.ours:
        return 0
    # Asking for the status that it has locks the row: nobody else is let through before the commit.
    await _set_status(session, row.id, row.status)
    found = await session.scalar(
        text("SELECT balance_minor - held_minor FROM accounts WHERE id = :id"), {"id": row.id}
    )
    return max(int(found or 0), 0)


async def _close_again(session: AsyncSession, principal_id: str) -> None:
    """Freeze every account of somebody who owes; open those we froze once nothing is owed."""
    if await _owed(session, principal_id):
        rows = await session.execute(
            text(
                "SELECT id, asset FROM accounts WHERE principal_id = :who AND kind = 'customer'"
                " AND status = 'open' ORDER BY id"
            ),
            {"who": principal_id},
        )
        for row in rows.all():
            await _remember(session, row.id, principal_id)
            await _set_status(session, row.id, "frozen")
            await outbox.put(session, _told(principal_id, row.id, row.asset, "frozen"))
        return
    rows = await session.execute(
        text(
            "SELECT a.id, a.asset, a.status FROM receivable_freezes f"
            " JOIN accounts a ON a.id = f.account_id WHERE f.principal_id = :who ORDER BY a.id"
        ),
        {"who": principal_id},
    )
    for row in rows.all():
        if row.status == "frozen":  # one that somebody closed meanwhile stays closed
            await _set_status(session, row.id, "open")
            await outbox.put(session, _told(principal_id, row.id, row.asset, "unfrozen"))
    await session.execute(
        text("DELETE FROM receivable_freezes WHERE principal_id = :who"), {"who": principal_id}
    )


def _told(principal_id: str, account_id: str, asset: str, what: str) -> Notice:
    """What the owner hears when an account is closed to outgoing money, and when it opens again."""
    data = {"account_id": account_id, "asset": asset, "reason": MONEY_OWED}
    return Notice(principal_id, f"account.{what}", account_id, data)


async def _remember(session: AsyncSession, account_id: str, principal_id: str) -> None:
    """Note that it is us who freeze it: taken only of one that is open, whose owner owes."""
    await session.execute(
        text(
            "INSERT INTO receivable_freezes (account_id, principal_id) VALUES (:id, :who)"
            " ON CONFLICT DO NOTHING"
        ),
        {"id": account_id, "who": principal_id},
    )


async def _set_status(session: AsyncSession, account_id: str, status: str) -> None:
    await session.execute(
        text("SELECT ledger_set_status(:id, :status)"), {"id": account_id, "status": status}
    )

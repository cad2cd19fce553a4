"""Who bears a loss that stays: the house, or the customer, and then never below zero.

What the customer has is taken, the rest is owed (`receivable:P:A`), and nothing of theirs goes out
until it is repaid: their accounts are frozen, what comes in is collected, then they are opened.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import ledger
from wallet.crashpoints import hit
from wallet.db import Database
from wallet.errors import FourEyesRequired, InvalidField, InvalidState, NotFound
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.money import AssetBook, Money
from wallet.outbox import Notice

Bearer = Literal["customer", "house"]
COLLECT_SECONDS = 5.0
COLLECT_AT_ONCE = 500
log = structlog.get_logger(__name__)


async def propose(session: AsyncSession, loss_id: str, bearer: str, *, by: str) -> None:
    """Say who bears it. A new proposal replaces an old one.

    Raises NotFound, InvalidState (settled, or the deposit is back), InvalidField.
    """
    if bearer not in get_args(Bearer):
        raise InvalidField("customer or house bears it.")
    row = await _open(session, loss_id)
    if bearer == "customer" and row.principal_id is None:
        raise InvalidField("It came to the house itself.")
    await session.execute(
        text("UPDATE deposit_losses SET bearer = :bearer, bearer_proposed_by = :by WHERE id = :id"),
        {"bearer": bearer, "by": by, "id": loss_id},
    )
    log.warning("loss.bearer_proposed", loss=loss_id, bearer=bearer, by=by)


async def approve(session: AsyncSession, assets: AssetBook, loss_id: str, *, by: str) -> Bearer:
    """Agree: the loss leaves suspense.

    Raises NotFound, InvalidState (no proposal, settled, the deposit is back), FourEyesRequired.
    """
    row = await _open(session, loss_id)
    if row.bearer is None:
        raise InvalidState("Nobody has proposed who bears it.", extra={"state": "open"})
    if row.bearer_proposed_by == by:
        raise FourEyesRequired("Another operator than the one who proposed it must approve it.")
    bearer: Bearer = row.bearer
    money = assets.money(row.asset, int(row.amount_minor))
    taken = 0
    if bearer == "customer":
        taken = min(money.minor, await _thaw(session, row.principal_id, row.asset))
    owed = money.minor - taken
    borne = (
        accounts.chain_loss_expense(row.network, row.asset)
        if bearer == "house"
        else accounts.receivable(row.principal_id, row.asset)
    )
    lines = [
        ledger.Line(accounts.chain_loss(row.network, row.asset), money),
        ledger.Line(borne, Money(-owed, money.asset)),
    ]
    notices = []
    if bearer == "customer":
        lines.append(
            ledger.Line(accounts.customer(row.principal_id, row.asset), Money(-taken, money.asset))
        )
        data = {
            "deposit_id": row.deposit_id, "money": money.json(), "network": row.network,
            "address": row.to_address, "tx_hash": row.tx_hash,
        }  # fmt: skip
        notices = [Notice(row.principal_id, "deposit.orphaned", row.deposit_id, data)]
    entry_id = await ledger.post(
        session,
        ledger.Command(
            kind="deposit_loss_settled",
            ref=loss_id,
            meta={"bearer": bearer, "proposed_by": row.bearer_proposed_by, "approved_by": by},
            lines=[line for line in lines if line.amount.minor],
            notices=notices,
        ),
    )
    await session.execute(
        text(
            "UPDATE deposit_losses SET bearer_approved_by = :by, settle_entry_id = :entry"
            " WHERE id = :id"
        ),
        {"by": by, "entry": entry_id, "id": loss_id},
    )
    if bearer == "customer":
        await _close_again(session, row.principal_id)
    hit("loss.before_commit_settled")
    log.warning("loss.settled", loss=loss_id, bearer=bearer, owed_minor=owed, by=by)
    return bearer


class Collector:
    """Takes what comes in for people who owe the house, and opens their accounts in the end."""

    def __init__(self, db: Database, assets: AssetBook) -> None:
        self._db = db
        self._assets = assets

    async def tick(self) -> None:
        """Everybody who owes something, each in a transaction of their own. Safe to repeat."""
        async with self._db.transaction() as session:
            rows = await session.execute(
                text(
                    "SELECT DISTINCT principal_id FROM receivable_freezes"
                    " ORDER BY principal_id LIMIT :most"
                ),
                {"most": COLLECT_AT_ONCE},
            )
            people = list(rows.scalars())
        for principal_id in people:
            async with self._db.transaction() as session:
                await self._collect(session, principal_id)
                hit("receivable.before_commit_collected")

    async def _collect(self, session: AsyncSession, principal_id: str) -> None:
        for asset, owed in (await _owed(session, principal_id)).items():
            taken = min(owed, await _thaw(session, principal_id, asset))
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


async def _thaw(session: AsyncSession, principal_id: str, asset: str) -> int:
    """Let this one account be debited until `_close_again`; what is available on it, locked.

    0 for one that is closed, or frozen by somebody else: that is not ours to open.
    """
    row = (
        await session.execute(
            text(
                "SELECT id, status = 'open' OR (status = 'frozen' AND EXISTS"
                " (SELECT FROM receivable_freezes f WHERE f.account_id = a.id)) AS ours"
                " FROM accounts a WHERE path = :path"
            ),
            {"path": accounts.customer(principal_id, asset).path},
        )
    ).one_or_none()
    if row is None or not row.ours:
        return 0
    # Writing the status locks the row: nobody else is let through before the commit.
    await _set_status(session, row.id, "open")
    found = await session.scalar(
        text("SELECT balance_minor - held_minor FROM accounts WHERE id = :id"), {"id": row.id}
    )
    return max(int(found or 0), 0)


async def _close_again(session: AsyncSession, principal_id: str) -> None:
    """Freeze every account of somebody who owes; open those we froze once nothing is owed."""
    if await _owed(session, principal_id):
        rows = await session.execute(
            text(
                "SELECT id FROM accounts WHERE principal_id = :who AND kind = 'customer'"
                " AND status = 'open' ORDER BY id"
            ),
            {"who": principal_id},
        )
        for account_id in list(rows.scalars()):
            await _set_status(session, account_id, "frozen")
            await _remember(session, account_id, principal_id)
        return
    rows = await session.execute(
        text("DELETE FROM receivable_freezes WHERE principal_id = :who RETURNING account_id"),
        {"who": principal_id},
    )
    for account_id in sorted(rows.scalars()):
        await _set_status(session, account_id, "open")


async def _remember(session: AsyncSession, account_id: str, principal_id: str) -> None:
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


async def _open(session: AsyncSession, loss_id: str) -> Any:
    row = (
        await session.execute(
            text(
                "SELECT l.*, d.principal_id, d.asset, d.amount_minor, d.to_address, d.tx_hash"
                " FROM deposit_losses l JOIN deposits d ON d.id = l.deposit_id"
                " WHERE l.id = :id FOR UPDATE OF l"
            ),
            {"id": loss_id},
        )
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such loss.")
    if row.settle_entry_id is not None or row.return_entry_id is not None:
        raise InvalidState("It is settled, or the deposit is back.", extra={"state": "ended"})
    return row

"""Who bears a loss that stays: the house, or the customer, and then never below zero.

How a customer is charged, and how what is owed comes back, is `wallet/receivables.py`.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import ledger, receivables
from wallet.crashpoints import hit
from wallet.errors import FourEyesRequired, InvalidField, InvalidState, NotFound
from wallet.ledger import accounts
from wallet.money import AssetBook, Money
from wallet.outbox import Notice

Bearer = Literal["customer", "house"]
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
    suspense = accounts.chain_loss(row.network, row.asset)
    meta = {"bearer": bearer, "proposed_by": row.bearer_proposed_by, "approved_by": by}
    entry_id: str | None
    owed = 0
    if bearer == "customer":
        data = {
            "deposit_id": row.deposit_id, "money": money.json(), "network": row.network,
            "address": row.to_address, "tx_hash": row.tx_hash,
        }  # fmt: skip
        charged = await receivables.charge(
            session,
            principal_id=row.principal_id,
            money=money,
            against=suspense,
            kind="deposit_loss_settled",
            ref=loss_id,
            meta=meta,
            notices=[Notice(row.principal_id, "deposit.orphaned", row.deposit_id, data)],
        )
        entry_id, owed = charged.entry_id, charged.owed_minor
    else:
        expense = accounts.chain_loss_expense(row.network, row.asset)
        entry_id = await ledger.post(
            session,
            ledger.Command(
                kind="deposit_loss_settled",
                ref=loss_id,
                meta=meta,
                lines=[
                    ledger.Line(suspense, money),
                    ledger.Line(expense, Money(-money.minor, money.asset)),
                ],
            ),
        )
    await session.execute(
        text(
            "UPDATE deposit_losses SET bearer_approved_by = :by, settle_entry_id = :entry"
            " WHERE id = :id"
        ),
        {"by": by, "entry": entry_id, "id": loss_id},
    )
    hit("loss.before_commit_settled")
    log.warning("loss.settled", loss=loss_id, bearer=bearer, owed_minor=owed, by=by)
    return bearer


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

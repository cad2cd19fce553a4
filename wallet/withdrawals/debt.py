"""What somebody who owes the house had sent on its way: ended while it has no nonce.

What has one goes on. Preparing refuses the rest from the moment of the charge
(`WithdrawalFollower.vouches_for`); here it ends as `failed`, `money_owed`, costs nothing, and what
was held is there for the debt (`wallet/receivables.py`).
"""

from __future__ import annotations

import structlog

from wallet.crashpoints import hit
from wallet.db import Database
from wallet.money import AssetBook
from wallet.onchain.intents import end_queued
from wallet.onchain.repository import get_intent
from wallet.onchain.signers import may_have_paid
from wallet.onchain.states import State
from wallet.receivables import MONEY_OWED, owes
from wallet.withdrawals import repository
from wallet.withdrawals.service import release
from wallet.withdrawals.states import Status

AT_ONCE = 200
log = structlog.get_logger(__name__)


class OwedWithdrawals:
    """The part of `receivables.Outgoing` that withdrawals have."""

    def __init__(self, db: Database, assets: AssetBook) -> None:
        self._db = db
        self._assets = assets

    async def take_back(self, principal_id: str) -> None:
        """Each withdrawal in a transaction of its own. Safe to repeat, and beside `Preparer`."""
        async with self._db.transaction() as session:
            queued = await repository.queued_of(session, principal_id, limit=AT_ONCE)
        for intent_id in queued:
            async with self._db.transaction() as session:
                moved = await end_queued(
                    session, intent_id, State.FAILED, reason=MONEY_OWED, out_of_batch=True
                )
                if moved is not None or not await owes(session, principal_id):
                    await session.rollback()  # it has a nonce by now, or the debt is repaid
                    continue
                intent = await get_intent(session, intent_id)
                if await may_have_paid(session, network=intent.network, since=intent.created_at):
                    await session.rollback()  # its hold stays for what it may have cost
                    continue
                await release(
                    session, intent_id, Status.FAILED, self._assets, failure_code=MONEY_OWED
                )
                hit("withdrawal.before_commit_owed")
            log.warning("withdrawal.owner_owes", intent=intent_id)

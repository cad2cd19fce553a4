"""What every step of sending on one network needs, and the one way an intent changes state."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.blocks import Receipt
from chain.client import ChainClient
from keys.signer import Signer
from wallet.db import Database
from wallet.onchain import casework, repository
from wallet.onchain.intents import Follower
from wallet.onchain.repository import Intent
from wallet.onchain.states import IN_FLIGHT, TRANSITIONS, State

GOES_ALONG = (State.QUEUED, *IN_FLIGHT)
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Desk:
    """One network's sending: the books, the node, the signer, and who follows which purpose."""

    db: Database
    chain: ChainClient
    signer: Signer
    followers: Mapping[str, Follower]

    @property
    def network(self) -> str:
        """Name of the network."""
        return self.chain.network.name

    async def move(
        self,
        session: AsyncSession,
        intent_id: str,
        to: State,
        *,
        expected: Intent | None = None,
        at: datetime | None = None,
        receipt: Receipt | None = None,
        by: str | None = None,
        **changes: Any,
    ) -> Intent | None:
        """Move an intent and tell its follower, in the caller's transaction.

        None when the table does not know the move from where the intent is now, or it is no longer
        as `expected`: a rival was faster, and there is nothing left to do. `by`: the operator who
        asked, if one did. A review has its case as long as it lasts.
        """
        before = await repository.lock_intent(session, intent_id)
        # A member whose batch came to nothing; its batch may have had no nonce yet either.
        back = before.batch_id is not None and to is State.QUEUED and before.state in GOES_ALONG
        if to not in TRANSITIONS[before.state] and not back:
            return None
        if expected is not None and _key(before) != _key(expected):
            return None
        after = await repository.update_intent(
            session, intent_id, {"state": str(to), "waiting_for": None, **changes}
        )
        log.info("intent.moving", intent=intent_id, before=str(before.state), after=str(to))
        await casework.moved(session, after, previous=before.state, by=by)
        follower = self.followers.get(after.purpose)
        if follower is not None:
            await follower.intent_moved(
                session, intent=after, previous=before.state, at=at, receipt=receipt
            )
        return after

    async def send_to_review(self, intent: Intent, reason: str, *, halt: bool) -> None:
        """Leave it to a person; with `halt` the signer gives no more nonces either."""
        async with self.db.transaction() as session:
            moved = await self.move(session, intent.id, State.IN_REVIEW, reason=reason)
            if halt and intent.from_address is not None:
                await casework.halt_signer(
                    session, network=self.network, address=intent.from_address, reason=reason
                )
        if moved is not None:
            log.error("intent.in_review", intent=intent.id, reason=reason, halted=halt)


def _key(intent: Intent) -> tuple[State, str | None, str | None]:
    return intent.state, intent.mined_tx_hash, intent.mined_block_hash


@asynccontextmanager
async def leadership(db: Database, name: str) -> AsyncIterator[bool]:
    """Whether this process may do `name` now. The lock ends with the connection: a killed process
    holds nothing. It saves work only; rows and their locks keep the money right without it."""
    async with db.engine.connect() as plain:
        connection = await plain.execution_options(isolation_level="AUTOCOMMIT")
        mine = await connection.scalar(
            text("SELECT pg_try_advisory_lock(hashtextextended(:name, 11))"), {"name": name}
        )
        try:
            yield bool(mine)
        finally:
            if mine:
                try:
                    await connection.execute(
                        text("SELECT pg_advisory_unlock(hashtextextended(:name, 11))"),
                        {"name": name},
                    )
                except BaseException:
                    await connection.invalidate()  # never back into the pool with the lock
                    raise

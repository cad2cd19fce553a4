"""Carries boxes to the signer and its sealed replies back. Nothing here can open either."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from keys.errors import SignerRefused
from wallet.crashpoints import hit
from wallet.db import Database
from wallet.ids import new_id
from wallet.selfcustody.repository import update_send
from wallet.selfcustody.telling import Relay
from wallet.selfcustody.turns import Turns

REQUEST_SECONDS = 180.0
"""A question that has no answer by then is ended: nobody's box may stand before all others."""
ANSWERING_SECONDS = 3.0
"""After so much of a pass no further box is begun: the signer may take seconds for each, payments
wait for it, and a grant lives two minutes."""
LOST = "lost"
"""In place of the name of a grant that a copy of the database does not have: none is called so."""
log = structlog.get_logger(__name__)


class Boxes:
    """Questions to the signer, of which each has one answer."""

    def __init__(self, db: Database, relay: Relay, turns: Turns) -> None:
        self._db = db
        self._relay = relay
        self._turns = turns

    async def answer(self) -> None:
        """Have the signer open those whose turn it is. Raises SignerUnavailable."""
        async with self._db.transaction() as session:
            rows = await self._turns.boxes(session, late_seconds=REQUEST_SECONDS)
        until = time.monotonic() + ANSWERING_SECONDS
        for row in rows:
            if time.monotonic() >= until:
                return
            self._turns.answered(row)
            if row.late:
                await self._refuse(row, "not_answered")
                continue
            try:
                answer = await self._relay.selfcustody(
                    "open",
                    purpose=row.purpose,
                    principal=row.principal_id,
                    request_id=row.nonce,
                    box=row.box,
                    account=row.sealed,
                )
            except SignerRefused as refusal:
                await self._refuse(row, refusal.reason)
                continue
            except ValueError:  # does not even fit into a frame
                await self._refuse(row, "malformed_request")
                continue
            async with self._db.transaction() as session:
                await self._keep(session, row, answer)
                hit("selfcustody.before_commit_answered")
            hit("selfcustody.after_commit_answered")

    async def _keep(self, session: AsyncSession, row: Any, answer: Mapping[str, Any]) -> None:
        """Write the answer; an answer that was lost cannot be had again, the person asks anew."""
        account_id = row.account_id
        sealed = answer.get("account")
        if sealed is not None:
            account_id = new_id("sca")
            made = await session.scalar(
                text(
                    "INSERT INTO selfcustody_accounts (id, principal_id, label, address, sealed)"
                    " VALUES (:id, :principal, :label, :address, CAST(:sealed AS jsonb))"
                    " ON CONFLICT DO NOTHING RETURNING id"
                ),
                {
                    "id": account_id, "principal": row.principal_id, "label": row.label,
                    "address": sealed["address"], "sealed": json.dumps(sealed),
                },
            )  # fmt: skip
            if made is None:
                await self._end_request(session, row.id, "refused", reason="account_known")
                return
        await self._end_request(
            session, row.id, "done", account_id=account_id, reply=answer.get("reply")
        )
        if answer.get("grant") is not None:
            await update_send(session, row.id, {"grant_name": answer["grant"]}, by="request_id")

    async def _refuse(self, row: Any, reason: str) -> None:
        ended = {"state": "failed", "reason": reason}
        if await self._signed_before(row):
            ended = {"grant_name": LOST}  # it ends by what the chain shows, as any that was signed
        async with self._db.transaction() as session:
            if not await self._end_request(session, row.id, "refused", reason=reason, first=True):
                return  # a rival has the answer: the signer gives it once
            await update_send(session, row.id, ended, by="request_id", was="queued")
        log.info("selfcustody.refused", purpose=row.purpose, reason=reason)

    async def _signed_before(self, row: Any) -> bool:
        """Whether the signer has signed this box's payment: it opened the box once, and this
        database is a copy of before that. Raises SignerUnavailable."""
        async with self._db.transaction() as session:
            found = await session.execute(
                text("SELECT id FROM selfcustody_sends WHERE request_id = :id"), {"id": row.id}
            )
            ids = list(found.scalars())
        return bool(ids and await self._relay.signed_before(ids))

    async def _end_request(
        self, session: AsyncSession, request_id: str, state: str, *, reason: str | None = None,
        account_id: str | None = None, reply: Mapping[str, str] | None = None, first: bool = False,
    ) -> bool:  # fmt: skip
        """`first`: only where nobody has ended it. Whether it is ended so now."""
        done = await session.scalar(
            text(
                "UPDATE selfcustody_requests SET state = :state, box = NULL, reason = :reason,"
                " account_id = coalesce(:account, account_id), reply = CAST(:reply AS jsonb)"
                " WHERE id = :id AND (NOT :first OR state = 'queued') RETURNING 1"
            ),
            {
                "id": request_id, "state": state, "reason": reason, "account": account_id,
                "reply": None if reply is None else json.dumps(dict(reply)), "first": first,
            },
        )  # fmt: skip
        return done is not None

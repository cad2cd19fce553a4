"""The sweep of holds whose time is over: what they keep goes back, once, whoever sweeps."""

from __future__ import annotations

from sqlalchemy import text

from wallet import ledger
from wallet.crashpoints import hit
from wallet.db import Database
from wallet.holds.models import KIND
from wallet.holds.reads import SELECT, hold_of
from wallet.holds.service import closing
from wallet.money import AssetBook

BATCH = 50
BATCHES = 40  # in one tick
TICK_SECONDS = 1.0
DUE = (
    "EXISTS (SELECT FROM holds WHERE status = 'open' AND expires_at <= bifold_now()"
    f" AND kind = '{KIND}')"
)


async def expire(db: Database, assets: AssetBook) -> int:
    """Give back one batch, what ended first before the rest; returns how many. Two workers give
    back each once. What is held in an asset that nobody knows waits.

    Accounts are locked before rows of `payment_holds`, in the order of their ids, as whoever
    captures or voids does.
    """
    async with db.transaction() as session:
        ids = (
            await session.scalars(
                text(
                    "SELECT due.id FROM (SELECT h.id, h.account_id FROM holds h"
                    " WHERE h.status = 'open' AND h.kind = :kind"
                    " AND h.expires_at <= bifold_now() AND h.asset = ANY(:known)"
                    " ORDER BY h.expires_at, h.id LIMIT :batch)"
                    " AS due ORDER BY due.account_id, due.id"
                ),
                {"batch": BATCH, "kind": KIND, "known": [*assets.codes]},
            )
        ).all()
        ended = 0
        for id_ in ids:
            await ledger.open_amount(session, hold_id=id_)  # locks the account
        for id_ in ids:
            row = (await session.execute(text(SELECT + " WHERE p.id = :id"), {"id": id_})).one()
            hold = hold_of(row, assets)
            if hold.remaining.minor == 0:
                continue  # captured, voided or given back while we waited for the lock
            await ledger.post(session, closing(hold, "expired"))
            await session.execute(
                text("UPDATE payment_holds SET ended = 'expired' WHERE id = :id"), {"id": id_}
            )
            ended += 1
        hit("holds.before_commit_expired")
    return ended


async def expire_all(db: Database, assets: AssetBook) -> int:
    """Batch after batch while they are full, for a while: who makes many small holds holds up
    nobody else's."""
    total = 0
    for _ in range(BATCHES):
        ended = await expire(db, assets)
        total += ended
        if ended < BATCH:
            break
    return total

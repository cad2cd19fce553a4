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
TICK_SECONDS = 1.0
DUE = (
    "EXISTS (SELECT FROM holds WHERE status = 'open' AND expires_at <= bifold_now()"
    f" AND kind = '{KIND}')"
)


async def expire(db: Database, assets: AssetBook) -> int:
    """Give back one batch; returns how many. Two workers take different ones.

    A hold is claimed by a lock on its row of `payment_holds`; what is read of it stays true because
    its account is locked too (`ledger_lock_hold`).
    """
    async with db.transaction() as session:
        ids = (
            await session.scalars(
                text(
                    "SELECT p.id FROM payment_holds p JOIN holds h ON h.id = p.id"
                    " WHERE h.status = 'open' AND h.kind = :kind AND h.expires_at <= bifold_now()"
                    " ORDER BY h.account_id, h.id LIMIT :batch FOR UPDATE OF p SKIP LOCKED"
                ),
                {"batch": BATCH, "kind": KIND},
            )
        ).all()
        ended = 0
        for id_ in ids:
            await ledger.open_amount(session, hold_id=id_)  # locks the account
            row = (await session.execute(text(SELECT + " WHERE p.id = :id"), {"id": id_})).one()
            hold = hold_of(row, assets)
            if hold.remaining.minor == 0:
                continue  # captured or voided while we waited for the lock
            await ledger.post(session, closing(hold, "expired"))
            await session.execute(
                text("UPDATE payment_holds SET ended = 'expired' WHERE id = :id"), {"id": id_}
            )
            ended += 1
        hit("holds.before_commit_expired")
    return ended

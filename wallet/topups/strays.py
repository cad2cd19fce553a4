"""Transfers that named nobody: an operator says whose one is, another agrees."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import cases, ledger
from wallet.crashpoints import hit
from wallet.errors import FourEyesRequired, InvalidState, NotFound
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.money import AssetBook, Money
from wallet.topups import booking, incoming, service

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stray:
    """One transfer. `money` is in the books under `unattributed` until it is assigned."""

    id: str
    bank: str
    bank_reference: str
    money: Money
    about: str
    principal_id: str | None
    proposed_by: str | None
    approved_by: str | None
    topup_id: str | None
    created_at: datetime


async def strays(
    session: AsyncSession, assets: AssetBook, *, open_only: bool = True
) -> list[Stray]:
    """Oldest first."""
    rows = await session.execute(
        text(
            "SELECT * FROM bank_strays WHERE NOT :open OR topup_id IS NULL ORDER BY created_at, id"
        ),
        {"open": open_only},
    )
    return [_stray(row, assets) for row in rows]


async def propose(
    session: AsyncSession, assets: AssetBook, *, stray_id: str, principal_id: str, by: str
) -> Stray:
    """Say whose it is. A new proposal replaces an old one. Raises NotFound, InvalidState."""
    await _open(session, stray_id)
    known = await session.scalar(
        text("SELECT 1 FROM principals WHERE id = :id AND kind IN ('user', 'organisation')"),
        {"id": principal_id},
    )
    if known is None:
        raise NotFound("There is no such person.")
    await session.execute(
        text("UPDATE bank_strays SET principal_id = :who, proposed_by = :by WHERE id = :id"),
        {"id": stray_id, "who": principal_id, "by": by},
    )
    log.warning("transfer.proposed", stray=stray_id, principal=principal_id, by=by)
    return _stray(await _open(session, stray_id), assets)


async def approve(
    session: AsyncSession, assets: AssetBook, *, stray_id: str, principal_id: str, by: str
) -> Stray:
    """Agree: it becomes a top-up of theirs.

    Raises NotFound, InvalidState (no such proposal, assigned, or taken back by the bank),
    FourEyesRequired, AccountClosed.
    """
    row = await _open(session, stray_id)
    if row.principal_id is None or row.principal_id != principal_id:
        raise InvalidState("Nobody has proposed that it is theirs.", extra={"state": "open"})
    if row.proposed_by == by:
        raise FourEyesRequired("Another operator than the one who proposed it must approve it.")
    if await _taken_back(session, row):
        raise InvalidState("The bank has taken it back.", extra={"state": "taken_back"})
    money = assets.money(row.asset, int(row.amount_minor))
    topup_id = new_id("top")
    told = service.notice(principal_id, topup_id, money, "bank_transfer", "succeeded")
    entry_id = await booking.post(
        session,
        ledger.Command(
            kind="topup",
            ref=topup_id,
            meta={"stray": stray_id, "proposed_by": row.proposed_by, "approved_by": by},
            lines=[
                ledger.Line(
                    accounts.unattributed(row.bank, row.asset), Money(-money.minor, money.asset)
                ),
                ledger.Line(accounts.customer(principal_id, row.asset), money),
            ],
            notices=[told],
        ),
    )
    await incoming.succeeded(session, topup_id, principal_id, money, entry_id)
    await session.execute(
        text("UPDATE bank_strays SET approved_by = :by, topup_id = :topup WHERE id = :id"),
        {"id": stray_id, "by": by, "topup": topup_id},
    )
    await cases.close_all(
        session, kinds=["transfer_unattributed"], subjects=[stray_id], by=by,
        note=f"Assigned to {principal_id}.",
    )  # fmt: skip
    hit("transfer.before_commit_assigned")
    log.warning("transfer.assigned", stray=stray_id, principal=principal_id, by=by)
    found = await session.execute(
        text("SELECT * FROM bank_strays WHERE id = :id"), {"id": stray_id}
    )
    return _stray(found.one(), assets)


async def _open(session: AsyncSession, stray_id: str) -> Any:
    row = (
        await session.execute(
            text("SELECT * FROM bank_strays WHERE id = :id FOR UPDATE"), {"id": stray_id}
        )
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such transfer.")
    if row.topup_id is not None:
        raise InvalidState("It is assigned already.", extra={"state": "assigned"})
    return row


async def _taken_back(session: AsyncSession, row: Any) -> bool:
    """Whether the bank's statement shows that this transfer left again: nobody's to have.

    Of several by one reference, what left may be another's only where its amount says so.
    """
    found = await session.scalar(
        text(
            "SELECT 1 FROM bank_lines l WHERE l.bank = :bank AND l.reference = :reference"
            " AND l.asset = :asset AND l.kind = 'credit' AND l.amount_minor < 0"
            " AND (l.amount_minor = -CAST(:amount AS numeric) OR NOT EXISTS (SELECT FROM bank_lines"
            "  o WHERE o.bank = l.bank AND o.reference = l.reference AND o.asset = l.asset"
            "  AND o.kind = 'credit' AND o.amount_minor = -l.amount_minor)) LIMIT 1"
        ),
        {
            "bank": row.bank, "reference": row.bank_reference, "asset": row.asset,
            "amount": row.amount_minor,
        },
    )  # fmt: skip
    return found is not None


def _stray(row: Any, assets: AssetBook) -> Stray:
    return Stray(
        row.id, row.bank, row.bank_reference, assets.money(row.asset, int(row.amount_minor)),
        row.about, row.principal_id, row.proposed_by, row.approved_by, row.topup_id,
        row.created_at,
    )  # fmt: skip

"""Unattributed arrivals: an operator says whose one is, another one agrees, and it is credited."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import cases, ledger
from wallet.crashpoints import hit
from wallet.errors import FourEyesRequired, InvalidState, NotFound
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.money import AssetBook, Money
from wallet.onchain import tokens
from wallet.outbox import Notice


@dataclass(frozen=True, slots=True)
class Arrival:
    """One arrival. `money` is in the books under `unattributed` until it is assigned."""

    id: str
    network: str
    address: str
    money: Money
    at_block: int
    principal_id: str | None
    tx_hash: str | None
    proposed_by: str | None
    approved_by: str | None
    deposit_id: str | None
    created_at: datetime


async def arrivals(
    session: AsyncSession, assets: AssetBook, *, open_only: bool = True
) -> list[Arrival]:
    """Oldest first."""
    rows = await session.execute(
        text(
            "SELECT * FROM unattributed_arrivals WHERE NOT :open OR deposit_id IS NULL"
            " ORDER BY created_at, id"
        ),
        {"open": open_only},
    )
    return [_arrival(row, assets) for row in rows]


async def propose(
    session: AsyncSession, *, arrival_id: str, principal_id: str, tx_hash: str, by: str,
    assets: AssetBook,
) -> Arrival:  # fmt: skip
    """Say whose it is and which transaction brought it. A new proposal replaces an old one.

    Raises NotFound, InvalidState (assigned already).
    """
    await _open(session, arrival_id)
    person = await session.scalar(
        text("SELECT 1 FROM principals WHERE id = :id AND kind IN ('user', 'organisation')"),
        {"id": principal_id},
    )
    if person is None:
        raise NotFound("There is no such person.")
    row = (
        await session.execute(
            text(
                "UPDATE unattributed_arrivals SET principal_id = :principal, tx_hash = :tx,"
                " proposed_by = :by, proposed_at = clock_timestamp() WHERE id = :id RETURNING *"
            ),
            {"id": arrival_id, "principal": principal_id, "tx": tx_hash.lower(), "by": by},
        )
    ).one()
    return _arrival(row, assets)


async def approve(
    session: AsyncSession, *, arrival_id: str, principal_id: str, by: str, assets: AssetBook
) -> Arrival:
    """Agree with the proposal for this very person, who is credited, with a deposit to see.

    Raises NotFound, InvalidState (no proposal, another one since, assigned already, its token is
    halted, or coins are missing at its address: a fork may have taken them), FourEyesRequired.
    """
    row = await _open(session, arrival_id)
    if row.proposed_by is None:
        raise InvalidState("Nobody has proposed whose it is.", extra={"state": "open"})
    if row.proposed_by == by:
        raise FourEyesRequired("Another operator than the one who proposed it must approve it.")
    if row.principal_id != principal_id:
        raise InvalidState("It is proposed for somebody else; look again.", extra={"state": "open"})
    if await _short(session, row):
        raise InvalidState(
            "Less lies at its address than came to it: bifold cases list --kind deposit_shortfall.",
            extra={"state": "open"},
        )
    if row.asset in await tokens.halted(session, row.network):
        raise InvalidState(
            "Its token is halted: bifold chain resume-token first.", extra={"state": "open"}
        )
    money = assets.money(row.asset, int(row.amount_minor))
    deposit_id = new_id("dep")
    notice = Notice(
        row.principal_id, "deposit.credited", deposit_id,
        {
            "deposit_id": deposit_id, "money": money.json(), "network": row.network,
            "address": row.address, "tx_hash": row.tx_hash, "block_number": row.at_block,
        },
    )  # fmt: skip
    entry_id = await ledger.post(
        session,
        ledger.Command(
            kind="deposit",
            ref=deposit_id,
            event_at=row.block_time,
            meta={"arrival": row.id, "proposed_by": row.proposed_by, "approved_by": by},
            lines=[
                ledger.Line(
                    accounts.unattributed(row.network, row.asset), Money(-money.minor, money.asset)
                ),
                ledger.Line(accounts.customer(row.principal_id, row.asset), money),
            ],
            notices=[notice],
        ),
    )
    await _insert_deposit(session, row, deposit_id, entry_id)
    done = (
        await session.execute(
            text(
                "UPDATE unattributed_arrivals SET approved_by = :by, deposit_id = :deposit"
                " WHERE id = :id RETURNING *"
            ),
            {"id": arrival_id, "by": by, "deposit": deposit_id},
        )
    ).one()
    await cases.close_all(
        session,
        kinds=["deposit_unattributed"],
        subjects=[arrival_id],
        by=by,
        note=f"credited to {row.principal_id} as {deposit_id}",
    )
    hit("arrival.before_commit_approved")
    return _arrival(done, assets)


async def _short(session: AsyncSession, row: Any) -> bool:
    """Whether the balance finder misses something at its address now."""
    found = await session.scalar(
        text(
            "SELECT 1 FROM cases WHERE kind = 'deposit_shortfall' AND status = 'open'"
            " AND subject = :subject"
        ),
        {"subject": f"{row.network}/{row.address}/{row.asset}"},
    )
    return found is not None


async def _insert_deposit(
    session: AsyncSession, row: Any, deposit_id: str, entry_id: str | None
) -> None:
    """What the person sees: a credited deposit. Its log index is below −1: there is no log; and no
    other's of its transaction, which may have brought several, found at different blocks."""
    await session.execute(
        text(
            "INSERT INTO deposits (id, network, block_hash, block_number, block_time, tx_hash,"
            " log_index, asset, from_address, to_address, amount_minor, principal_id, status,"
            " entry_id) SELECT :id, :network, :hash, :number, :time, :tx,"
            "  least(coalesce(min(log_index), -1), -1) - 1, :asset, :zero, :address, :minor,"
            "  :principal, 'credited', :entry FROM deposits"
            "  WHERE network = :network AND tx_hash = :tx"
        ),
        {
            "id": deposit_id, "network": row.network, "hash": row.block_hash,
            "number": row.at_block, "time": row.block_time, "tx": row.tx_hash, "asset": row.asset,
            "zero": "0x" + "0" * 40, "address": row.address, "minor": row.amount_minor,
            "principal": row.principal_id, "entry": entry_id,
        },
    )  # fmt: skip


async def _open(session: AsyncSession, arrival_id: str) -> Any:
    row = (
        await session.execute(
            text("SELECT * FROM unattributed_arrivals WHERE id = :id FOR UPDATE"),
            {"id": arrival_id},
        )
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such arrival.")
    if row.deposit_id is not None:
        raise InvalidState("It is assigned already.", extra={"state": "assigned"})
    return row


def _arrival(row: Any, assets: AssetBook) -> Arrival:
    return Arrival(
        row.id, row.network, row.address, assets.money(row.asset, int(row.amount_minor)),
        row.at_block, row.principal_id, row.tx_hash, row.proposed_by, row.approved_by,
        row.deposit_id, row.created_at,
    )  # fmt: skip

"""Deposits that were set aside: one operator says that one is good, another agrees, it is booked.

The amount is what the chain's log says; nobody enters one. It is booked only where the coins lie,
at a final block: above all that is known to have come to that address and to be good, or, at the
house's own addresses, where the account of that place misses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.client import ChainClient
from wallet import cases
from wallet.crashpoints import hit
from wallet.db import Database
from wallet.deposits import lineage, repository
from wallet.deposits.credit import Crediter
from wallet.deposits.explained import Final, explained, final_block, moving_out, still_stands
from wallet.deposits.repository import DepositRow
from wallet.errors import FourEyesRequired, InvalidField, InvalidState, NotFound
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.money import AssetBook, Money
from wallet.onchain import tokens

log = structlog.get_logger("operator")


@dataclass(frozen=True, slots=True)
class HeldBack:
    """One that is in no entry. `principal_id` None: it came to the house itself."""

    id: str
    network: str
    principal_id: str | None
    money: Money
    address: str
    tx_hash: str
    block_number: int
    reason: str
    created_at: datetime
    proposed_by: str | None
    because: str | None


@dataclass(frozen=True, slots=True)
class Sight:
    """What lies at the deposit's address at a final block, in minor units."""

    final: Final
    balance_minor: int


@dataclass(frozen=True, slots=True)
class Released:
    """`status` quarantined: its owner's account is closed, the books keep it as unattributed."""

    deposit_id: str
    money: Money
    principal_id: str | None
    entry_id: str
    status: str


async def held_back(
    session: AsyncSession, assets: AssetBook, *, deposit_id: str | None = None
) -> list[HeldBack]:
    """Oldest first; or the one of this id, if it is set aside. Not in assets that are not listed:
    there is no saying how much they are."""
    rows = await session.execute(
        text(
            "SELECT d.*, r.proposed_by, r.reason AS because FROM deposits d LEFT JOIN"
            " deposit_releases r ON r.deposit_id = d.id AND r.state = 'proposed'"
            " WHERE d.status = 'quarantined' AND d.entry_id IS NULL"
            " AND (CAST(:id AS text) IS NULL OR d.id = :id) ORDER BY d.created_at, d.id"
        ),
        {"id": deposit_id},
    )
    return [
        HeldBack(
            row.id, row.network, row.principal_id, assets.money(row.asset, int(row.amount_minor)),
            row.to_address, row.tx_hash, row.block_number, row.reason or "", row.created_at,
            row.proposed_by, row.because,
        )
        for row in rows
        if row.asset in assets
    ]  # fmt: skip


async def propose(session: AsyncSession, deposit_id: str, *, reason: str, by: str) -> None:
    """Say that it is good. A new proposal takes the place of an old one.

    Raises InvalidField (no reason), NotFound, InvalidState (not set aside, or booked).
    """
    if not reason.strip():
        raise InvalidField("Say why.")
    await _lock(session, deposit_id)
    await _dismiss(session, deposit_id, by=by)
    await session.execute(
        text(
            "INSERT INTO deposit_releases (id, deposit_id, reason, proposed_by)"
            " VALUES (:id, :deposit, :reason, :by)"
        ),
        {"id": new_id("rel"), "deposit": deposit_id, "reason": reason.strip(), "by": by},
    )
    log.warning("deposit.release_proposed", deposit=deposit_id, by=by)


async def dismiss(session: AsyncSession, deposit_id: str, *, by: str) -> None:
    """Take a proposal back: it stays set aside. Raises NotFound, InvalidState (none there)."""
    await _lock(session, deposit_id)
    if not await _dismiss(session, deposit_id, by=by):
        raise InvalidState("Nobody has proposed to release it.", extra={"state": "quarantined"})
    log.warning("deposit.release_dismissed", deposit=deposit_id, by=by)


async def _dismiss(session: AsyncSession, deposit_id: str, *, by: str) -> bool:
    """Whether there was one."""
    ended = await session.execute(
        text(
            "UPDATE deposit_releases SET state = 'dismissed', ended_by = :by, ended_at ="
            " clock_timestamp() WHERE deposit_id = :deposit AND state = 'proposed' RETURNING 1"
        ),
        {"by": by, "deposit": deposit_id},
    )
    return ended.one_or_none() is not None


async def look(db: Database, chain: ChainClient, found: HeldBack) -> Sight:
    """What its address holds at the newest final block. Raises InvalidState, ChainError."""
    async with db.transaction() as session:
        final = await final_block(session, found.network)
    if final is None:
        raise _not_yet("Nothing is final on this network yet.")
    [balance] = await chain.balances([found.address], found.money.asset.code, final.number)
    ref = await chain.block_ref(final.number)
    if ref is None or ref.hash != final.hash:
        raise _not_yet("The node is on another chain than the books; look at bifold chain status.")
    return Sight(final, balance)


async def approve(
    session: AsyncSession,
    crediter: Crediter,
    assets: AssetBook,
    deposit_id: str,
    *,
    by: str,
    sight: Sight | None,
    missing: Mapping[str, int],
) -> Released:
    """Agree: it is booked as any deposit, and its case closed.

    `sight`: of the address of a customer's; `missing`: by account of the house, what a reading of
    the chain at a final block lacks, for one that came to the house. Raises NotFound,
    InvalidState (not set aside, no proposal, not final, token halted, too large, not there),
    FourEyesRequired, LedgerError.
    """
    row = await _lock(session, deposit_id)
    proposal = (
        await session.execute(
            text(
                "SELECT id, proposed_by FROM deposit_releases WHERE deposit_id = :id"
                " AND state = 'proposed' FOR UPDATE"
            ),
            {"id": deposit_id},
        )
    ).one_or_none()
    if proposal is None:
        raise InvalidState("Nobody has proposed to release it.", extra={"state": "quarantined"})
    if proposal.proposed_by == by:
        raise FourEyesRequired("Another operator than the one who proposed it must approve it.")
    await _good(session, row, assets)
    if row.principal_id is not None:
        await _lies_there(session, row, assets, sight)
    else:
        await _house_has_it(session, row, crediter, assets, missing)
    entry_id, status = await crediter.book(session, row)
    await session.execute(
        text(
            "UPDATE deposit_releases SET state = 'released', ended_by = :by,"
            " ended_at = clock_timestamp(), entry_id = :entry WHERE id = :id"
        ),
        {"by": by, "entry": entry_id, "id": proposal.id},
    )
    if status == "credited":
        await cases.close_all(
            session,
            kinds=["deposit_quarantined"],
            subjects=[deposit_id],
            by=by,
            note=f"released as {entry_id}",
        )
    hit("release.before_commit")
    log.warning("deposit.released", deposit=deposit_id, proposed_by=proposal.proposed_by, by=by)
    money = assets.money(row.asset, row.amount_minor)
    return Released(deposit_id, money, row.principal_id, entry_id, status)


async def _lock(session: AsyncSession, deposit_id: str) -> DepositRow:
    """Set aside and unbooked; neither it nor the scanner's place moves until the commit."""
    row = await repository.lock_set_aside(session, deposit_id)
    if row is None:
        known = await session.scalar(
            text("SELECT status FROM deposits WHERE id = :id"), {"id": deposit_id}
        )
        if known is None:
            raise NotFound("There is no such deposit.")
        raise InvalidState("It is not set aside, or it is in the books.", extra={"state": known})
    return row


async def _good(session: AsyncSession, row: DepositRow, assets: AssetBook) -> None:
    """What would set it aside again."""
    if row.asset in await tokens.halted(session, row.network):
        raise _not_yet("Its token is halted: bifold chain resume-token first.")
    if row.amount_minor > assets.get(row.asset).max_minor:
        raise _not_yet("It is more than its asset may count.")
    tip = await lineage.tip(session, row.network)
    if tip is None or row.block_number > tip.final_number:
        raise _not_yet("Its block is not final yet.")


async def _lies_there(
    session: AsyncSession, row: DepositRow, assets: AssetBook, sight: Sight | None
) -> None:
    if sight is None or not await still_stands(session, row.network, sight.final):
        raise _not_yet("The chain changed while it was read; try again.")
    if sight.final.number < row.block_number:
        raise _not_yet("Its block is not final yet.")
    if await moving_out(session, row.network, [row.to_address]):
        raise _not_yet("Its address is just being swept; try again in a minute.")
    known = await explained(
        session, row.network, row.asset, [row.to_address], sight.final.number, doubted=row.id
    )
    short = known[row.to_address] - sight.balance_minor
    if short > 0:
        raise _absent(assets.money(row.asset, short), row.to_address)


async def _house_has_it(
    session: AsyncSession,
    row: DepositRow,
    crediter: Crediter,
    assets: AssetBook,
    missing: Mapping[str, int],
) -> None:
    place, _ = await crediter.sides(session, row)
    account = accounts.on_chain(row.network, row.asset, place).path
    if account not in missing:
        raise _not_yet("The chain could not be read at a final block; try again.")
    if missing[account] > 0:
        raise _absent(assets.money(row.asset, missing[account]), account)


def _not_yet(message: str) -> InvalidState:
    return InvalidState(message, extra={"state": "quarantined"})


def _absent(money: Money, where: str) -> InvalidState:
    return InvalidState(
        f"It is not there: {where} has {money} less than came to it. Whatever its owner is given"
        " comes from the house (bifold ledger post).",
        extra={"state": "quarantined"},
    )

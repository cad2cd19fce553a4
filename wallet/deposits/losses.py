"""Credited deposits that a fork below finality no longer holds: booked as a loss, never in silence.

The coins leave `chain:N:A:deposit` for `suspense:chain_loss:N:A`, which names the gap; the
customer keeps what was credited until people decide otherwise. The same transfer, final on the
chain followed afterwards, undoes its loss instead of being credited a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.blocks import BlockRef
from chain.observe import ObservedDeposit
from wallet import ledger
from wallet.crashpoints import hit
from wallet.db import Database
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.ledger.accounts import AccountSpec
from wallet.money import AssetBook, Money

log = structlog.get_logger(__name__)

# Where a deposit lies now: where it was seen again after its last loss, else where it was credited.
NOW_AT = (
    "LEFT JOIN LATERAL (SELECT * FROM deposit_losses x WHERE x.deposit_id = d.id"
    " ORDER BY x.created_at DESC, x.id DESC LIMIT 1) AS l ON true"
)


@dataclass(frozen=True, slots=True)
class Loss:
    """One loss. `again_block`: where the same transfer was seen again; not final yet while open."""

    id: str
    deposit_id: str
    network: str
    principal_id: str | None
    money: Money
    address: str
    tx_hash: str
    fork_number: int
    again_block: int | None
    returned: bool
    created_at: datetime


async def losses(
    session: AsyncSession, assets: AssetBook, *, network: str | None = None, open_only: bool = True
) -> list[Loss]:
    """Oldest first; open are those that are neither back nor borne by somebody."""
    rows = await session.execute(
        text(
            "SELECT l.*, d.principal_id, d.asset, d.amount_minor, d.to_address, d.tx_hash"
            " FROM deposit_losses l JOIN deposits d ON d.id = l.deposit_id"
            " WHERE (CAST(:network AS text) IS NULL OR l.network = :network)"
            " AND (NOT :open OR (l.return_entry_id IS NULL AND l.settle_entry_id IS NULL))"
            " ORDER BY l.created_at, l.id"
        ),
        {"network": network, "open": open_only},
    )
    return [
        Loss(
            row.id, row.deposit_id, row.network, row.principal_id,
            assets.money(row.asset, int(row.amount_minor)), row.to_address, row.tx_hash,
            row.fork_number, row.again_block_number, row.return_entry_id is not None,
            row.created_at,
        )
        for row in rows
    ]  # fmt: skip


async def book_losses(session: AsyncSession, assets: AssetBook, *, network: str, above: int) -> int:
    """Book as lost every credited deposit above block `above`. Safe to repeat. How many are new."""
    rows = await session.execute(
        text(
            f"SELECT d.* FROM deposits d {NOW_AT} WHERE d.network = :network"
            " AND d.entry_id IS NOT NULL AND CASE WHEN l.id IS NULL THEN d.block_number > :above"
            "  ELSE l.return_entry_id IS NOT NULL AND l.again_block_number > :above END"
            " ORDER BY d.block_number, d.id FOR UPDATE OF d"
        ),
        {"network": network, "above": above},
    )
    found = rows.all()
    for row in found:
        loss_id = new_id("los")
        entry_id = await _post(session, assets, row, kind="deposit_lost", ref=loss_id, sign=1)
        await session.execute(
            text(
                "INSERT INTO deposit_losses (id, deposit_id, network, fork_number, entry_id)"
                " VALUES (:id, :deposit, :network, :fork, :entry)"
            ),
            {
                "id": loss_id, "deposit": row.id, "network": network, "fork": above,
                "entry": entry_id,
            },
        )  # fmt: skip
        log.error(
            "deposit.lost", network=network, deposit=row.id, loss=loss_id, asset=row.asset,
            minor=int(row.amount_minor), tx_hash=row.tx_hash,
        )  # fmt: skip
    return len(found)


async def seen_again(
    session: AsyncSession, network: str, block: BlockRef, seen: ObservedDeposit, *, is_move: bool
) -> bool:
    """Whether this is a lost deposit's own transfer, mined again; remembers where."""
    found = await session.scalar(
        text(
            "UPDATE deposit_losses SET again_block_hash = :hash, again_block_number = :number"
            " WHERE id = (SELECT l.id FROM deposit_losses l JOIN deposits d ON d.id = l.deposit_id"
            "  WHERE l.network = :network AND l.return_entry_id IS NULL"
            "  AND l.again_block_hash IS NULL AND d.tx_hash = :tx AND d.asset = :asset"
            "  AND d.to_address = :address AND d.amount_minor = :minor"
            "  AND d.is_move = :is_move AND (d.from_address = :from OR NOT d.is_move)"
            "  ORDER BY d.log_index, d.trace_path, d.id LIMIT 1) RETURNING id"
        ),
        {
            "network": network, "hash": block.hash, "number": block.number, "tx": seen.tx_hash,
            "asset": seen.asset, "address": seen.to_address, "minor": seen.amount,
            "from": seen.from_address, "is_move": is_move,
        },
    )  # fmt: skip
    return found is not None


async def found_again(
    session: AsyncSession, network: str, asset: str, address: str, minor: int, number: int, at: str
) -> str | None:
    """Which loss of an arrival that balances found and people assigned is there again, among the
    `minor` units more than known at final block `number`, hash `at`; remembers where."""
    found: str | None = await session.scalar(
        text(
            "UPDATE deposit_losses SET again_block_hash = :hash, again_block_number = :number"
            " WHERE id = (SELECT l.id FROM deposit_losses l JOIN deposits d ON d.id = l.deposit_id"
            "  JOIN unattributed_arrivals a ON a.deposit_id = d.id WHERE l.network = :network"
            "  AND l.return_entry_id IS NULL AND l.again_block_hash IS NULL AND d.asset = :asset"
            "  AND d.to_address = :address AND d.amount_minor <= :minor"
            "  ORDER BY d.amount_minor DESC, l.id LIMIT 1) RETURNING id"
        ),
        {
            "network": network, "asset": asset, "address": address, "minor": minor,
            "number": number, "hash": at,
        },
    )  # fmt: skip
    return found


async def forget_above(session: AsyncSession, network: str, number: int) -> None:
    """Blocks above this are left: what was seen again in them is lost again."""
    await session.execute(
        text(
            "UPDATE deposit_losses SET again_block_hash = NULL, again_block_number = NULL"
            " WHERE network = :network AND again_block_number > :number"
            " AND return_entry_id IS NULL"
        ),
        {"network": network, "number": number},
    )


async def returning(session: AsyncSession, network: str, *, limit: int) -> Sequence[str]:
    """Losses whose transfer is final in the lineage: seen again, or the lost chain came back."""
    await session.execute(
        text(
            "UPDATE deposit_losses l SET again_block_hash = d.block_hash,"
            " again_block_number = d.block_number FROM deposits d, chain_blocks b"
            " WHERE l.network = :network AND l.return_entry_id IS NULL"
            " AND l.again_block_hash IS NULL AND d.id = l.deposit_id AND b.network = l.network"
            " AND b.number = d.block_number AND b.hash = d.block_hash"
        ),
        {"network": network},
    )
    rows = await session.execute(
        text(
            "SELECT l.id FROM deposit_losses l JOIN scan_state s ON s.network = l.network"
            " AND s.final_number >= l.again_block_number WHERE l.network = :network"
            " AND l.return_entry_id IS NULL ORDER BY l.again_block_number, l.id LIMIT :limit"
        ),
        {"network": network, "limit": limit},
    )
    return list(rows.scalars())


async def give_back(db: Database, assets: AssetBook, loss_id: str) -> bool:
    """Undo one loss if its transfer is final in the lineage now. Safe to repeat."""
    async with db.transaction() as session:
        row = (
            await session.execute(
                text(
                    "SELECT d.*, l.bearer, l.settle_entry_id FROM deposit_losses l"
                    " JOIN deposits d ON d.id = l.deposit_id JOIN scan_state s"
                    " ON s.network = l.network AND s.final_number >= l.again_block_number"
                    " JOIN chain_blocks b ON b.network = l.network"
                    "  AND b.number = l.again_block_number AND b.hash = l.again_block_hash"
                    " WHERE l.id = :id AND l.return_entry_id IS NULL AND NOT EXISTS"
                    "  (SELECT FROM network_state n WHERE n.network = l.network"
                    "   AND n.halted_reason IS NOT NULL) FOR UPDATE OF l, s"
                ),
                {"id": loss_id},
            )
        ).one_or_none()
        if row is None:
            return False
        entry_id = await _post(
            session, assets, row, kind="deposit_loss_returned", ref=loss_id, sign=-1,
            borne_by=row.bearer if row.settle_entry_id else None,
        )  # fmt: skip
        await session.execute(
            text("UPDATE deposit_losses SET return_entry_id = :entry WHERE id = :id"),
            {"entry": entry_id, "id": loss_id},
        )
        hit("loss.before_commit_returned")
    log.warning("deposit.loss_returned", deposit=row.id, loss=loss_id)
    return True


async def _post(
    session: AsyncSession, assets: AssetBook, row: Any, *, kind: str, ref: str, sign: int,
    borne_by: str | None = None,
) -> str:  # fmt: skip
    """`sign` 1: out of the chain's account; −1: back into it, to whoever bore the loss."""
    money = assets.money(row.asset, int(row.amount_minor))
    counter = accounts.chain_loss(row.network, row.asset)
    place = accounts.on_chain(row.network, row.asset, "deposit")
    if borne_by == "house":
        counter = accounts.chain_loss_expense(row.network, row.asset)
    elif borne_by == "customer":
        counter = await _customer_or_aside(session, row)
    elif row.principal_id is None:
        place, counter = await _house_sides(session, row)
    entry_id = await ledger.post(
        session,
        ledger.Command(
            kind=kind,
            ref=ref,
            meta={"network": row.network, "deposit": row.id, "tx_hash": row.tx_hash},
            lines=[
                ledger.Line(place, Money(sign * money.minor, money.asset)),
                ledger.Line(counter, Money(-sign * money.minor, money.asset)),
            ],
        ),
    )
    if entry_id is None:
        raise AssertionError("a deposit is never zero")
    return entry_id


async def _house_sides(session: AsyncSession, row: Any) -> tuple[AccountSpec, AccountSpec]:
    """A deposit to the house is owed to nobody: its own two accounts, the other way round."""
    rows = await session.execute(
        text(
            "SELECT a.path, a.asset, a.side, p.amount_minor FROM postings p"
            " JOIN accounts a ON a.id = p.account_id WHERE p.entry_id = :entry"
            " ORDER BY p.amount_minor"
        ),
        {"entry": row.entry_id},
    )
    gained, counter = (AccountSpec(one.path, one.asset, one.side) for one in rows)
    return gained, counter


async def _customer_or_aside(session: AsyncSession, row: Any) -> AccountSpec:
    """Who was charged is credited; a closed account takes nothing any more."""
    theirs = accounts.customer(row.principal_id, row.asset)
    closed = await session.scalar(
        text("SELECT status = 'closed' FROM accounts WHERE path = :path"), {"path": theirs.path}
    )
    return accounts.unattributed(row.network, row.asset) if closed else theirs

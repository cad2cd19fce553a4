"""What came to the house by a payment of its own whose row these books had lost.

The scanner keeps it as it keeps anybody's while no row is there. Once one is, what of it is in no
entry is the house's own again, as if it had been there all along; what is in one stays as it is
booked, and the payment's end books the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import cases
from wallet.cases import HOUSE
from wallet.errors import InvalidState
from wallet.onchain.repository import Intent

# A token's code may have swept others by the way: what came from these is no part of the payment's
# end, and is booked by itself (`wallet.deposits.known.own_transactions`). Below log −1 is what was
# found by balances and assigned by hand.
_ITS_OWN = (
    " FROM deposits d WHERE d.network = :network AND d.tx_hash = :hash AND d.log_index >= -1"
    " AND NOT (d.is_move"
    " AND NOT EXISTS (SELECT FROM sweeps s JOIN sweep_accounts c ON c.sweep_id = s.id"
    "  WHERE s.intent_id = :intent AND c.address = d.from_address))"
)


@dataclass(frozen=True, slots=True)
class Arrived:
    """One arrival that is in an entry of its own. `is_move`: out of a deposit address;
    `of_customer`: it was credited to whoever has the address; `gone`: a fork took it since."""

    from_address: str
    to_address: str
    asset: str
    minor: int
    is_move: bool
    of_customer: bool
    gone: bool


async def arrived(session: AsyncSession, intent: Intent, tx_hash: str) -> Sequence[Arrived]:
    """What this transaction of the payment brought and is booked as an arrival; nothing else of it
    will be."""
    where = {"network": intent.network, "hash": tx_hash, "intent": intent.id}
    # Whoever scans a block has this row from its first statement on: it sees this payment's row, or
    # what it brought is seen here.
    await session.execute(
        text("SELECT 1 FROM scan_state WHERE network = :network FOR UPDATE"), where
    )
    ignored = await session.execute(
        text(
            "UPDATE deposits SET status = 'ignored', reason = 'own_transaction',"
            f" updated_at = clock_timestamp() WHERE id IN (SELECT d.id{_ITS_OWN}) AND"
            " entry_id IS NULL AND status IN ('seen', 'confirmed', 'quarantined') RETURNING id"
        ),
        where,
    )
    await cases.close_all(
        session,
        kinds=["deposit_quarantined"],
        subjects=list(ignored.scalars()),
        by=HOUSE,
        note="the house sent it: the row of its payment is here again",
    )
    rows = await session.execute(
        text(
            "SELECT d.*, EXISTS (SELECT FROM deposit_losses l WHERE l.deposit_id = d.id"
            f"  AND l.return_entry_id IS NULL) AS gone{_ITS_OWN} AND d.entry_id IS NOT NULL"
        ),
        where,
    )
    return [
        Arrived(
            row.from_address, row.to_address, row.asset, int(row.amount_minor), row.is_move,
            row.principal_id is not None, row.gone,
        )
        for row in rows
    ]  # fmt: skip


async def is_final(session: AsyncSession, intent: Intent, tx_hash: str) -> bool:
    """Whether the scanner has seen this transaction bring something, in a block that is final."""
    return bool(
        await session.scalar(
            text(
                "SELECT EXISTS (SELECT FROM deposits d JOIN scan_state s ON s.network = d.network"
                " AND s.final_number >= d.block_number WHERE d.network = :network"
                " AND d.tx_hash = :hash AND d.log_index >= -1 AND d.status <> 'orphaned')"
            ),
            {"network": intent.network, "hash": tx_hash},
        )
    )


async def booked(session: AsyncSession, intent: Intent) -> Sequence[Arrived]:
    """The same of the transaction that it ends by. Raises InvalidState while one of them is lost:
    nobody knows yet whether it comes back."""
    found = [] if intent.mined_tx_hash is None else await arrived(
        session, intent, intent.mined_tx_hash
    )  # fmt: skip
    if any(one.gone for one in found):
        raise InvalidState("A fork took what it brought: see bifold deposits losses.")
    return found

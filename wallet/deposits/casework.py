"""Arrivals that a person must look at become cases, in the transaction that sets them aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from wallet import cases
from wallet.cases import HOUSE, NewCase
from wallet.deposits.repository import DepositRow

WORDS: Final[dict[str, str]] = {
    "token_halted": "its token is halted",
    "amount_too_large": "it is more than the asset may count",
    "balance_differs": "the token's balance did not move as its log says",
    "asset_unlisted": "its asset is on no network's list any more",
    "sent_by_house": "an address of the house sent it by a payment that these books do not know",
    "account_closed": "its owner's account is closed; the books keep it as unattributed",
}


def words(reason: str) -> str:
    """Why one is set aside, for a person."""
    return WORDS.get(reason, f"the books refuse it ({reason})")


async def set_aside(session: AsyncSession, row: DepositRow, reason: str) -> None:
    """A deposit is quarantined: the case says why, and what arrived."""
    await set_all_aside(session, [replace(row, reason=reason)])


async def set_all_aside(session: AsyncSession, rows: Sequence[DepositRow]) -> None:
    """Each for the reason in its row. By one statement: how many there are strangers decide."""
    await cases.open_cases(session, kind="deposit_quarantined", new=[_case(row) for row in rows])


def _case(row: DepositRow) -> NewCase:
    reason = row.reason or ""
    return NewCase(
        subject=row.id,
        network=row.network,
        asset=row.asset,
        what=f"A deposit of {row.asset} on {row.network} is not credited: {words(reason)}.",
        evidence={
            "reason": reason,
            "amount_minor": str(row.amount_minor),
            "principal_id": row.principal_id,
            "from_address": row.from_address,
            "to_address": row.to_address,
            "tx_hash": row.tx_hash,
            "block_number": row.block_number,
        },
    )


async def gone(session: AsyncSession, rows: Sequence[DepositRow]) -> None:
    """A reorganisation took these arrivals away: there is nothing left to look at."""
    if rows:
        await cases.close_all(
            session,
            kinds=["deposit_quarantined"],
            subjects=[row.id for row in rows],
            by=HOUSE,
            note="a reorganisation took its block away; nothing had been booked",
        )

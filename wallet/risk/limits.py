"""The daily limit of outgoing external value: withdrawals and payments, nothing else.

What was tried and came back does not count, but has a bound of its own: the signer counts all that
it signs in a day, and cannot know what a cancel or a revert took back. A sliding window of business
time. Reserve before any ledger account is locked: the principal's row is the lock, and it comes
first everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.errors import LimitExceeded, NotFound
from wallet.money import format_amount

DAILY_LIMIT_EUR_MINOR = 10_000_00
MOST_TRIED = 3
"""So many days' limits may be tried in a day, what was cancelled, failed or refused included."""
WINDOW_SECONDS = 24 * 60 * 60

OutgoingKind = Literal["withdrawal", "payment"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Euro cents: what may leave in the window, what has, what was tried besides, what is left."""

    limit_minor: int
    used_minor: int
    came_back_minor: int = 0
    window_seconds: int = WINDOW_SECONDS

    @property
    def remaining_minor(self) -> int:
        """Never below zero."""
        tries = MOST_TRIED * self.limit_minor - self.used_minor - self.came_back_minor
        return max(min(self.limit_minor - self.used_minor, tries), 0)


async def usage(session: AsyncSession, principal_id: str) -> Usage:
    """How much of the limit is used now. What is exactly as old as the window no longer counts."""
    found = await session.execute(
        text(
            "SELECT coalesce(sum(eur_minor) FILTER (WHERE released_at IS NULL), 0) AS used,"
            " coalesce(sum(eur_minor) FILTER (WHERE released_at IS NOT NULL), 0) AS came_back"
            " FROM outgoing_usage WHERE principal_id = :principal"
            " AND created_at > bifold_now() - :window * interval '1 second'"
        ),
        {"principal": principal_id, "window": WINDOW_SECONDS},
    )
    row = found.one()
    return Usage(DAILY_LIMIT_EUR_MINOR, int(row.used), int(row.came_back))


async def reserve_outgoing(
    session: AsyncSession, *, principal_id: str, eur_minor: int, kind: OutgoingKind, ref: str
) -> None:
    """Count `eur_minor` cents against today. Two at once are taken one after the other.

    Raises LimitExceeded; then nothing is counted. Call it before the ledger.
    """
    if eur_minor < 0:
        raise ValueError("a reservation is never negative")
    locked = await session.execute(
        text("SELECT 1 FROM principals WHERE id = :principal FOR NO KEY UPDATE"),
        {"principal": principal_id},
    )
    if locked.scalar_one_or_none() is None:
        raise NotFound("There is no such principal.")
    today = await usage(session, principal_id)
    if eur_minor > today.remaining_minor:
        left, limit = format_amount(today.remaining_minor, 2), format_amount(today.limit_minor, 2)
        tried = eur_minor <= today.limit_minor - today.used_minor
        why = f"This goes beyond {limit} EUR in 24 hours"
        if tried:
            why = "Too much was asked for and taken back in 24 hours"
        raise LimitExceeded(
            f"{why}; {left} EUR is left.",
            extra={
                "limit": {"amount": limit, "asset": "EUR"},
                "remaining": {"amount": left, "asset": "EUR"},
            },
        )
    await session.execute(
        text(
            "INSERT INTO outgoing_usage (ref, principal_id, kind, eur_minor)"
            " VALUES (:ref, :principal, :kind, :amount)"
        ),
        {"ref": ref, "principal": principal_id, "kind": kind, "amount": eur_minor},
    )


async def release_outgoing(session: AsyncSession, ref: str) -> None:
    """Stop counting `ref`: its money did not leave, or came back. Again changes nothing."""
    await session.execute(
        text(
            "UPDATE outgoing_usage SET released_at = bifold_now()"
            " WHERE ref = :ref AND released_at IS NULL"
        ),
        {"ref": ref},
    )

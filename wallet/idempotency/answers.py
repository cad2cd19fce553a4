"""Claim a key, replay its answer, store it: three statements for the caller's own transaction.

The advisory lock lives as long as the transaction, so a crash frees the key; the stored row has no
expiry, so a repeat after a year gets the first answer. Only 2xx are stored (a database check too).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.idempotency.errors import IdempotencyMismatch


@dataclass(frozen=True, slots=True)
class Claim:
    """Who asks for what under which key. `route` is the template, for example `/v1/transfers`."""

    principal_id: str
    method: str
    route: str
    key: str
    fingerprint: bytes

    @property
    def lock_id(self) -> int:
        """A signed 64-bit name for the advisory lock; a collision only makes somebody wait."""
        name = "\0".join((self.principal_id, self.method, self.route, self.key))
        digest = hashlib.blake2b(name.encode(), digest_size=8, person=b"idempotency")
        return int.from_bytes(digest.digest(), "big", signed=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """What left, or will leave: `body` is the exact JSON text."""

    status: int
    body: str
    location: str | None = None


@dataclass(frozen=True, slots=True)
class Replay:
    """The stored answer of an earlier request with the same key."""

    answer: Answer


async def claim(session: AsyncSession, claim: Claim) -> bool:
    """Take the key for this transaction; False while another transaction has it."""
    taken = await session.scalar(
        text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": claim.lock_id}
    )
    return bool(taken)


async def replay(session: AsyncSession, claim: Claim) -> Replay | None:
    """The answer stored under this key, if any. Raises IdempotencyMismatch.

    A statement of its own after `claim`: its snapshot then sees what a rival committed.
    """
    row = (
        await session.execute(
            text(
                "SELECT fingerprint, status, location, body FROM idempotency_answers"
                " WHERE principal_id = :principal AND method = :method"
                " AND route = :route AND key = :key"
            ),
            _names(claim),
        )
    ).one_or_none()
    if row is None:
        return None
    if not hmac.compare_digest(bytes(row.fingerprint), claim.fingerprint):
        raise IdempotencyMismatch("This key was used for another request.")
    return Replay(Answer(row.status, row.body, row.location))


async def store(session: AsyncSession, claim: Claim, answer: Answer) -> None:
    """Keep a 2xx answer in the transaction of its effect."""
    if not 200 <= answer.status <= 299:
        raise ValueError("only a 2xx answer is stored; a refusal leaves the key free")
    await session.execute(
        text(
            "INSERT INTO idempotency_answers"
            " (principal_id, method, route, key, fingerprint, status, location, body)"
            " VALUES (:principal, :method, :route, :key, :fingerprint, :status, :location, :body)"
        ),
        {
            **_names(claim),
            "fingerprint": claim.fingerprint,
            "status": answer.status,
            "location": answer.location,
            "body": answer.body,
        },
    )


def _names(claim: Claim) -> dict[str, str]:
    return {
        "principal": claim.principal_id,
        "method": claim.method,
        "route": claim.route,
        "key": claim.key,
    }

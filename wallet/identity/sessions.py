"""Sessions: a random 256-bit token, kept only as its SHA-256. Real clock throughout."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.db import Database
from wallet.errors import NotFound
from wallet.identity.errors import InvalidCredentials, InvalidEmail, Unauthenticated
from wallet.identity.passwords import verify_password
from wallet.identity.users import User, get_user, normal_email
from wallet.ids import new_id
from wallet.throttle import give_back, hit

LIFETIME = timedelta(hours=24)  # NIST 800-63B AAL2: 24 h overall
IDLE = timedelta(hours=1)  # and 1 h without use
TOUCH_EVERY = timedelta(seconds=60)
TOKEN_PREFIX = "bfs_"  # marks a session token
MAX_TOKEN_CHARS = 100
KEPT = timedelta(days=30)  # after its end, for who asks what opened an account
FORGET_ROWS = 5000  # at once
SIGN_INS_PER_ADDRESS = 10  # a quarter of an hour, for one e-mail
SIGN_INS_PER_CLIENT = 60  # and for one client address
SIGN_IN_WINDOW_SECONDS = 900

SessionKind = Literal["api", "web"]


@dataclass(frozen=True, slots=True)
class SignedIn:
    """One session. `token` only when just made."""

    id: str
    principal_id: str
    kind: str
    user_agent: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    token: str | None = None


_COLUMNS = "id, principal_id, kind, user_agent, created_at, last_seen_at, expires_at"


async def authenticate(db: Database, *, email: str, password: str) -> User:
    """The user behind e-mail and password. Raises InvalidCredentials.

    Outside any transaction: who waits for the threads that hash has no connection in hand. Tries
    are counted by the caller with `count_try`, in a transaction of its own.
    """
    try:
        _shown, key = normal_email(email)
    except InvalidEmail:  # costs the same as a wrong one
        key = ""
    async with db.transaction() as session:
        row = (
            await session.execute(
                text("SELECT id, password_hash FROM users WHERE email_key = :key"), {"key": key}
            )
        ).one_or_none()
    if not await verify_password(row.password_hash if row else None, password) or row is None:
        raise InvalidCredentials("E-mail or password is wrong.")
    async with db.transaction() as session:
        return await get_user(session, row.id)


async def count_try(session: AsyncSession, *, email: str, client: str) -> None:
    """Count a sign-in try, in a transaction of its own, before it runs. Raises RateLimited."""
    mail, origin = _buckets(email, client)
    await hit(session, mail, limit=SIGN_INS_PER_ADDRESS, window_seconds=SIGN_IN_WINDOW_SECONDS)
    await hit(session, origin, limit=SIGN_INS_PER_CLIENT, window_seconds=SIGN_IN_WINDOW_SECONDS)


async def forgive_try(session: AsyncSession, *, email: str, client: str) -> None:
    """The try was right: only wrong ones count. It takes back its own hit and nobody else's."""
    for bucket in _buckets(email, client):
        await give_back(session, bucket, window_seconds=SIGN_IN_WINDOW_SECONDS)


def _buckets(email: str, client: str) -> tuple[str, str]:
    """One account is one bucket, however its address is spelled: by the key that finds it."""
    try:
        _shown, key = normal_email(email)
    except InvalidEmail:
        key = email.strip().lower()
    marked = hashlib.sha256(key.encode()).hexdigest()[:32]
    return f"signin:mail:{marked}", f"signin:from:{client}"


async def open_session(
    session: AsyncSession, *, principal_id: str, kind: SessionKind, user_agent: str = ""
) -> SignedIn:
    """A new session; its token is in the answer and nowhere else."""
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    row = (
        await session.execute(
            text(
                "INSERT INTO sessions (id, principal_id, token_hash, kind, user_agent, expires_at)"
                f" VALUES (:id, :principal, :hash, :kind, :agent, :expires) RETURNING {_COLUMNS}"
            ),
            {
                "id": new_id("ses"),
                "principal": principal_id,
                "hash": token_hash(token),
                "kind": kind,
                "agent": user_agent[:200],
                "expires": datetime.now(UTC) + LIFETIME,
            },
        )
    ).one()
    return SignedIn(**row._mapping, token=token)


def token_hash(token: str) -> bytes:
    """SHA-256: the token has 256 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(token.encode()).digest()


async def resolve(session: AsyncSession, token: str, *, kind: SessionKind) -> SignedIn:
    """The living session behind a token. Raises Unauthenticated."""
    if not _well_formed(token):
        raise Unauthenticated("Sign in first.")
    row = (
        await session.execute(
            text(
                f"SELECT {_COLUMNS} FROM sessions WHERE token_hash = :hash AND kind = :kind"
                " AND revoked_at IS NULL AND expires_at > clock_timestamp()"
                " AND last_seen_at > clock_timestamp() - :idle"
            ),
            {"hash": token_hash(token), "kind": kind, "idle": IDLE},
        )
    ).one_or_none()
    if row is None:
        raise Unauthenticated("Sign in first: this session is unknown or has ended.")
    if datetime.now(UTC) - row.last_seen_at > TOUCH_EVERY:
        await session.execute(
            text("UPDATE sessions SET last_seen_at = clock_timestamp() WHERE id = :id"),
            {"id": row.id},
        )
    return SignedIn(**row._mapping)


async def resolve_many(
    hot: psycopg.AsyncConnection[Any], tokens: Collection[str], *, kind: SessionKind
) -> dict[str, SignedIn]:
    """The living sessions behind these tokens, in one round trip. The caller commits.

    A token that opens nothing has no entry. See `resolve`.
    """
    marked = {token_hash(token): token for token in tokens if _well_formed(token)}
    if not marked:
        return {}
    cursor = await hot.execute(
        "WITH live AS (SELECT token_hash, id, principal_id, kind, user_agent, created_at,"
        " last_seen_at, expires_at FROM sessions WHERE token_hash = ANY(%(hashes)s)"
        " AND kind = %(kind)s AND revoked_at IS NULL AND expires_at > clock_timestamp()"
        " AND last_seen_at > clock_timestamp() - %(idle)s), touched AS ("
        # A rival that touches the same row has done it: nobody waits, nobody can deadlock.
        "UPDATE sessions SET last_seen_at = clock_timestamp() WHERE id IN (SELECT s.id"
        " FROM sessions s JOIN live ON live.id = s.id WHERE"
        " live.last_seen_at < clock_timestamp() - %(touch)s FOR UPDATE OF s SKIP LOCKED))"
        " SELECT * FROM live",
        {"hashes": list(marked), "kind": kind, "idle": IDLE, "touch": TOUCH_EVERY},
    )
    return {marked[bytes(row[0])]: SignedIn(*row[1:]) for row in await cursor.fetchall()}


def _well_formed(token: str) -> bool:
    return token.startswith(TOKEN_PREFIX) and len(token) <= MAX_TOKEN_CHARS


async def live_sessions(session: AsyncSession, *, principal_id: str) -> list[SignedIn]:
    """Sessions that still open something, newest first."""
    rows = await session.execute(
        text(
            f"SELECT {_COLUMNS} FROM sessions"
            " WHERE principal_id = :principal"
            " AND revoked_at IS NULL AND expires_at > clock_timestamp()"
            " AND last_seen_at > clock_timestamp() - :idle"
            " ORDER BY created_at DESC, id DESC LIMIT 200"
        ),
        {"principal": principal_id, "idle": IDLE},
    )
    return [SignedIn(**row._mapping) for row in rows]


async def revoke(session: AsyncSession, *, principal_id: str, session_id: str) -> None:
    """End one session of this principal. Raises NotFound."""
    ended = await session.execute(
        text(
            "UPDATE sessions SET revoked_at = clock_timestamp()"
            " WHERE id = :id AND principal_id = :principal AND revoked_at IS NULL RETURNING id"
        ),
        {"id": session_id, "principal": principal_id},
    )
    if ended.one_or_none() is None:
        raise NotFound("There is no such session.")


async def forget_ended(session: AsyncSession) -> None:
    """Drop those that ended long ago, some at a time."""
    await session.execute(
        text(
            "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions"
            " WHERE expires_at < clock_timestamp() - :kept ORDER BY expires_at LIMIT :rows)"
        ),
        {"kept": KEPT, "rows": FORGET_ROWS},
    )

"""The bytes that are sealed, made anew outside the database (`docs/ledger.md`, "The seal").

Values come as PostgreSQL prints them: text, amounts without an exponent, JSON as `jsonb::text`,
times as whole microseconds since 1970 in UTC. None is NULL.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

ZERO = bytes(32)


def field(value: str | None) -> bytes:
    """A netstring, `5:hello,`; a minus for NULL."""
    if value is None:
        return b"-"
    plain = value.encode()
    return b"%d:%b," % (len(plain), plain)


def _all(values: Iterable[str | None]) -> bytes:
    return b"".join(map(field, values))


def entry_digest(entry: Sequence[str | None], postings: Iterable[Sequence[str | None]]) -> bytes:
    """`entry`: id, kind, ref, reverses, meta, event_at, created_at. Each of `postings`, in the
    order of their ids: id, account, asset, amount, account_seq, balance after, created_at."""
    lines = b"".join(map(_all, postings))
    return hashlib.sha256(field("entry.1") + _all(entry) + lines).digest()


def event_digest(event: Sequence[str | None]) -> bytes:
    """`event`: seq, id, principal, type, ref, data, created_at."""
    return hashlib.sha256(field("event.1") + _all(event)).digest()


def log_digest(line: Sequence[str | None]) -> bytes:
    """`line` of the operator log: seq, at, role, actor, action, object, object_id, fields."""
    return hashlib.sha256(field("log.1") + _all(line)).digest()


def genesis_digest(name: str) -> bytes:
    """Of row 0; `name` is the chain's."""
    return hashlib.sha256(field("genesis.1") + field(name)).digest()


def link(before: bytes, digest: bytes, *, seq: str, sealed_at: str) -> bytes:
    """The hash of a link; `before` is the hash of the link before it, 32 zero bytes for row 0."""
    return hashlib.sha256(before + digest + field(seq) + field(sealed_at)).digest()

"""Computes the whole chain anew from the rows, outside the database's own functions.

It names what was changed, removed, put in between or never sealed. What it cannot see by itself is
a chain that was computed anew from some link on; a head written down outside (`Anchor`) shows that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.seal.canonical import (
    ZERO,
    entry_digest,
    event_digest,
    genesis_digest,
    link,
    log_digest,
)

BATCH = 2_000
MOST_FINDINGS = 20
LATE_SECONDS = 60  # the sealer is a second behind; so long says that it does not run

MOMENT = "trunc(extract(epoch FROM {}) * 1000000)::text"
SEALS = (
    f"SELECT seq, kind, subject, digest, hash, {MOMENT.format('sealed_at')} AS sealed_at"
    " FROM seals WHERE seq > :after ORDER BY seq LIMIT :batch"
)
ENTRIES = (
    f"SELECT id, kind, ref, reverses, meta::text, {MOMENT.format('event_at')},"
    f" {MOMENT.format('created_at')} FROM entries WHERE id = ANY(:ids)"
)
POSTINGS = (
    "SELECT entry_id, id::text, account_id, asset, amount_minor::text, account_seq::text,"
    f" balance_after_minor::text, {MOMENT.format('created_at')}"
    " FROM postings WHERE entry_id = ANY(:ids) ORDER BY postings.id"
)
EVENTS = (
    "SELECT seq::text, id, principal_id, type, ref, data::text,"
    f" {MOMENT.format('created_at')} FROM events WHERE seq = ANY(:ids)"
)
LINES = (
    f"SELECT seq::text, {MOMENT.format('at')}, role, actor, action, object, object_id, fields::text"
    " FROM operator_log WHERE seq = ANY(:ids)"
)
# An entry is in the chain, or waits for it and was posted a moment ago.
OUTSIDE = (
    "SELECT e.id, u.entry_id IS NOT NULL AS waiting FROM entries e"
    " LEFT JOIN seals s ON s.subject = e.id AND s.kind = 'entry'"
    " LEFT JOIN unsealed u ON u.entry_id = e.id"
    " WHERE s.seq IS NULL AND (u.entry_id IS NULL"
    " OR e.created_at < clock_timestamp() - make_interval(secs => :late))"
    " ORDER BY e.created_at, e.id LIMIT :most"
)
LINES_OUTSIDE = (
    "SELECT o.seq, u.seq IS NOT NULL AS waiting FROM operator_log o"
    " LEFT JOIN seals s ON s.subject = o.seq::text AND s.kind = 'log'"
    " LEFT JOIN unsealed_log u ON u.seq = o.seq"
    " WHERE s.seq IS NULL AND (u.seq IS NULL"
    " OR o.at < clock_timestamp() - make_interval(secs => :late)) ORDER BY o.seq LIMIT :most"
)
LATE_EVENTS = (
    "SELECT seq FROM events WHERE seq > :told"
    " AND created_at < bifold_now() - make_interval(secs => :late) ORDER BY seq LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class Anchor:
    """A head that was written down outside, to be found again."""

    seq: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Finding:
    """`seq`: the link it is about, None where there is none. `what`: one sentence."""

    seq: int | None
    subject: str
    what: str


@dataclass(frozen=True, slots=True)
class Verified:
    """How many links were computed, the last of them, and what is wrong, in the chain's order."""

    links: int
    seq: int
    hash: bytes
    findings: list[Finding]


async def verify(session: AsyncSession, *, anchors: list[Anchor] | None = None) -> Verified:
    """Compute everything anew. `session` should be one snapshot; reads only.

    At most MOST_FINDINGS are named, the first in the chain first.
    """
    walk = _Walk({anchor.seq: anchor.hash for anchor in anchors or []})
    while rows := (await session.execute(text(SEALS), {"after": walk.seq, "batch": BATCH})).all():
        await walk.over(session, rows)
        if len(walk.findings) >= MOST_FINDINGS:
            break
    else:
        await walk.end(session)
    return Verified(walk.links, walk.seq, walk.hash, walk.findings[:MOST_FINDINGS])


class _Walk:
    """Where we are in the chain, and what was found."""

    def __init__(self, anchors: dict[int, bytes]) -> None:
        self.seq = -1
        self.hash = ZERO
        self.links = 0
        self.told = 0
        self.findings: list[Finding] = []
        self._anchors = anchors

    async def over(self, session: AsyncSession, rows: Any) -> None:
        """One batch of links."""
        digests = await _digests(session, rows)
        for row in rows:
            subject = f"{row.kind} {row.subject}"
            if row.seq != self.seq + 1:
                self._found(row.seq, subject, f"links {self.seq + 1} to {row.seq - 1} are missing")
            if row.kind == "event":
                self._event(row, subject)
            computed = digests.get((row.kind, row.subject))
            if computed is None:
                self._found(row.seq, subject, "is sealed and is not there any more")
            elif computed != bytes(row.digest):
                self._found(row.seq, subject, "was altered after it was sealed")
            if bytes(row.hash) != link(
                self.hash, bytes(row.digest), seq=str(row.seq), sealed_at=row.sealed_at
            ):
                self._found(row.seq, subject, "its link does not continue the chain")
            anchored = self._anchors.pop(row.seq, None)
            if anchored is not None and anchored != bytes(row.hash):
                self._found(row.seq, subject, "is not the head that was written down outside")
            # The chain goes on from what is stored, so that each altered row is named by itself.
            self.seq, self.hash, self.links = int(row.seq), bytes(row.hash), self.links + 1

    def _event(self, row: Any, subject: str) -> None:
        if row.subject != str(self.told + 1):
            self._found(row.seq, subject, f"event {self.told + 1} should be sealed before it")
        self.told = int(row.subject) if row.subject.isdigit() else self.told

    async def end(self, session: AsyncSession) -> None:
        """What stands outside the chain."""
        if self.links == 0:
            self._found(None, "genesis", "the chain has no beginning")
        for seq in sorted(self._anchors):
            self._found(seq, "head", "was written down outside and is not in the chain")
        params = {"late": LATE_SECONDS, "most": MOST_FINDINGS}
        for kind, query in (("entry", OUTSIDE), ("log", LINES_OUTSIDE)):
            for subject, waiting in await session.execute(text(query), params):
                what = "waits for its seal for too long" if waiting else "was never sealed"
                self._found(None, f"{kind} {subject}", what)
        late = await session.scalar(text(LATE_EVENTS), {"late": LATE_SECONDS, "told": self.told})
        if late is not None:
            self._found(None, f"event {late}", "waits for its seal for too long")

    def _found(self, seq: int | None, subject: str, what: str) -> None:
        self.findings.append(Finding(seq, subject, what))


async def _digests(session: AsyncSession, rows: Any) -> dict[tuple[str, str], bytes]:
    """What each of these should be sealed as, by kind and subject; a row that is gone is absent."""
    made = {(r.kind, r.subject): genesis_digest(r.subject) for r in rows if r.kind == "genesis"}
    ids = [row.subject for row in rows if row.kind == "entry"]
    if ids:
        postings: dict[str, list[Any]] = {}
        for posting in await session.execute(text(POSTINGS), {"ids": ids}):
            postings.setdefault(posting[0], []).append(posting[1:])
        for entry in await session.execute(text(ENTRIES), {"ids": ids}):
            made["entry", entry[0]] = entry_digest(entry, postings.get(entry[0], []))
    for kind, query, digest in (("event", EVENTS, event_digest), ("log", LINES, log_digest)):
        if numbers := _numbers(rows, kind):
            for row in await session.execute(text(query), {"ids": numbers}):
                made[kind, row[0]] = digest(row)
    return made


def _numbers(rows: Any, kind: str) -> list[int]:
    """What the links of that kind name, as far as it is a number."""
    named = [row.subject for row in rows if row.kind == kind]
    return [int(subject) for subject in named if subject.isdigit() and len(subject) < 19]

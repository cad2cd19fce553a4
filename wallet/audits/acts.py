"""A report that names a break pauses what it touches; an operator who has looked lets it go on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import cases
from wallet.cases import HOUSE
from wallet.errors import InvalidField, InvalidState, NotFound

EVERY_ASSET = "*"
NAMED_AT_MOST = 20
"""Breaks spelled out in a case; the run's own list has them all."""


class Pause(NamedTuple):
    """An asset whose withdrawals wait, since when, and by which run."""

    asset: str
    run_id: int
    reason: str
    at: datetime


async def act(session: AsyncSession) -> int:
    """Do what follows from the reports nobody acted on yet; how many there were. Safe to repeat."""
    runs = await session.execute(
        text("SELECT id FROM audit_runs WHERE acted_at IS NULL ORDER BY id")
    )
    done = 0
    for run_id in runs.scalars().all():
        done += await _act_on(session, int(run_id))
    if done:
        await cases.close_all(
            session, kinds=["audit_away"], subjects=["audit"], by=HOUSE, note="the books were read"
        )
    return done


async def _act_on(session: AsyncSession, run_id: int) -> bool:
    """False: somebody else did meanwhile. The database itself pauses what the report names: no
    report is marked without that (r0033)."""
    rows = await session.execute(
        text(
            "SELECT f.* FROM audit_findings f WHERE f.run_id = :run AND NOT EXISTS"
            " (SELECT FROM audit_accepted a WHERE a.fingerprint = f.fingerprint) ORDER BY f.n"
        ),
        {"run": run_id},
    )
    touched: dict[str, list[Any]] = defaultdict(list)
    odd: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        (touched[row.asset or EVERY_ASSET] if row.pauses else odd[row.code]).append(row)
    words: dict[str, str] = {}
    for asset, found in sorted(touched.items()):
        which = "every asset" if asset == EVERY_ASSET else asset
        words[asset] = f"{_told(found)}; withdrawals of {which} wait (run {run_id})"
    acted = await session.scalar(
        text("SELECT audit_act(:run, CAST(:reasons AS jsonb))"),
        {"run": run_id, "reasons": orjson.dumps(words).decode()},
    )
    if not acted:
        return False
    for asset, found in sorted(touched.items()):
        await cases.open_case(
            session, kind="books_broken", subject=asset, what=words[asset],
            asset=None if asset == EVERY_ASSET else asset, evidence=_evidence(run_id, found),
        )  # fmt: skip
    for code, found in sorted(odd.items()):
        await cases.open_case(
            session, kind="audit_finding", subject=code, what=f"{_told(found)} (run {run_id})",
            evidence=_evidence(run_id, found),
        )  # fmt: skip
    return True


async def open_pauses(session: AsyncSession) -> list[Pause]:
    """What waits now, oldest first."""
    rows = await session.execute(text("SELECT * FROM audit_pauses ORDER BY at, asset"))
    return [Pause(row.asset, row.run_id, row.reason, row.at) for row in rows]


async def accept(
    session: AsyncSession, *, subject: str, run_id: int, by: str, note: str
) -> list[str]:
    """An operator has looked at what `run_id` names about `subject` (an asset, "*" or the code of a
    check) and lets it go on. These very breaks pause nothing again; the report goes on naming them.

    Returns the ids of the cases that are closed by it. Raises NotFound (nothing of the kind in that
    run), InvalidField (no note), InvalidState (a later run names more about it).
    """
    if not by.strip() or not note.strip():
        raise InvalidField("Say who has looked, and what was found.")
    await act(session)
    seen = await session.execute(
        text(
            "INSERT INTO audit_accepted (fingerprint, code, subject, accepted_by, note)"
            " SELECT DISTINCT ON (f.fingerprint) f.fingerprint, f.code, f.subject, :by, :note"
            f" FROM audit_findings f WHERE f.run_id = :run AND {_ABOUT}"
            " ON CONFLICT DO NOTHING RETURNING fingerprint"
        ),
        {"run": run_id, "subject": subject, "by": by, "note": note},
    )
    accepted = list(seen.scalars())
    paused = await session.scalar(
        text("SELECT 1 FROM audit_pauses WHERE asset = :subject"), {"subject": subject}
    )
    if not accepted and paused is None:
        raise NotFound("That run names nothing about it.")
    more = await session.scalar(
        text(
            "SELECT f.code || ' ' || f.subject FROM audit_findings f"
            f" WHERE f.run_id = (SELECT max(id) FROM audit_runs) AND {_ABOUT} AND NOT EXISTS"
            " (SELECT FROM audit_accepted a WHERE a.fingerprint = f.fingerprint) LIMIT 1"
        ),
        {"subject": subject},
    )
    if more is not None:
        raise InvalidState(
            f"The newest run names more about it: {more}. Look at it first.",
            extra={"state": "paused"},
        )
    await session.execute(
        text("DELETE FROM audit_pauses WHERE asset = :subject"), {"subject": subject}
    )
    return await cases.close_all(
        session, kinds=["books_broken", "audit_finding"], subjects=[subject], by=by, note=note
    )


_ABOUT = "CASE WHEN f.pauses THEN coalesce(f.asset, '*') = :subject ELSE f.code = :subject END"


def _told(found: Sequence[Any]) -> str:
    codes = sorted({row.code for row in found})
    first = found[0]
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return (
        f"The auditor found {', '.join(codes[:3])}{' …' if len(codes) > 3 else ''}:"
        f" {first.subject} should be {first.expected[:80]} and is {first.found[:80]}{more}"
    )


def _evidence(run_id: int, found: Sequence[Any]) -> dict[str, object]:
    return {
        "run": str(run_id),
        "breaks": str(len(found)),
        "named": [
            f"{row.code} {row.subject}: should be {row.expected}, is {row.found}"
            for row in found[:NAMED_AT_MOST]
        ],
    }

"""Open, close and read cases.

`open_case` and `close_all` are called inside the transaction that stops or releases something: a
halt that is rolled back leaves no case, and a committed one always has its case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.cases.kinds import KINDS, Kind
from wallet.errors import InvalidField, InvalidState, NotFound
from wallet.ids import new_id

HOUSE = "bifold"
"""Who closed a case whose cause ended by itself."""
LISTED_AT_MOST = 500
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Case:
    """One case. `what`: what happened, in plain words; `evidence`: what was known then."""

    id: str
    kind: Kind
    subject_type: str
    subject: str
    network: str | None
    asset: str | None
    severity: str
    what: str
    evidence: dict[str, Any]
    status: str
    opened_at: datetime
    closed_at: datetime | None
    closed_by: str | None
    closing_note: str | None


@dataclass(frozen=True, slots=True)
class NewCase:
    """One that is to be opened. Amounts in `evidence` are decimal strings of minor units."""

    subject: str
    what: str
    network: str | None = None
    asset: str | None = None
    evidence: Mapping[str, object] | None = None


async def open_case(
    session: AsyncSession,
    *,
    kind: Kind,
    subject: str,
    what: str,
    network: str | None = None,
    asset: str | None = None,
    evidence: Mapping[str, object] | None = None,
) -> str | None:
    """Open a case in the caller's transaction. None when one of this kind and subject is open.

    Amounts in `evidence` are decimal strings of minor units.
    """
    new = NewCase(subject, what, network, asset, evidence)
    return next(iter(await open_cases(session, kind=kind, new=[new])), None)


async def open_cases(session: AsyncSession, *, kind: Kind, new: Sequence[NewCase]) -> list[str]:
    """The same for many of one kind, by one statement. The ids of those that were not open."""
    if not new:
        return []
    rows = await session.execute(
        text(
            "INSERT INTO cases (id, kind, subject_type, subject, network, asset, severity, what,"
            " evidence) SELECT n.id, :kind, :type, n.subject, n.network, n.asset, :severity,"
            " n.what, n.evidence FROM unnest(CAST(:ids AS text[]), CAST(:subjects AS text[]),"
            " CAST(:networks AS text[]), CAST(:assets AS text[]), CAST(:whats AS text[]),"
            " CAST(:evidences AS jsonb[])) AS n (id, subject, network, asset, what, evidence)"
            " ON CONFLICT (kind, subject) WHERE status = 'open' DO NOTHING"
            " RETURNING id, subject, what"
        ),
        {
            "kind": kind,
            "type": KINDS[kind].subject_type,
            "severity": KINDS[kind].severity,
            "ids": [new_id("cas") for _ in new],
            "subjects": [one.subject for one in new],
            "networks": [one.network for one in new],
            "assets": [one.asset for one in new],
            "whats": [one.what for one in new],
            "evidences": [orjson.dumps(dict(one.evidence or {})).decode() for one in new],
        },
    )
    opened = rows.all()
    for row in opened:
        log.error("case.opened", case=row.id, kind=kind, subject=row.subject, what=row.what)
    return [str(row.id) for row in opened]


async def close_all(
    session: AsyncSession, *, kinds: Sequence[Kind], subjects: Sequence[str], by: str, note: str
) -> list[str]:
    """Close what is open of these kinds about these subjects: their cause has ended. The ids."""
    rows = await session.execute(
        text(
            "UPDATE cases SET status = 'closed', closed_at = bifold_now(), closed_by = :by,"
            " closing_note = :note WHERE status = 'open' AND kind = ANY(:kinds)"
            " AND subject = ANY(:subjects) RETURNING id"
        ),
        {"kinds": list(kinds), "subjects": list(subjects), "by": by, "note": note},
    )
    closed = list(rows.scalars())
    for case_id in closed:
        log.info("case.closed", case=case_id, by=by, note=note)
    return closed


async def close_by_hand(session: AsyncSession, *, case_id: str, by: str, note: str) -> Case:
    """A person has looked and says so. Whether its cause still stands is the caller's to ask.

    Raises NotFound, InvalidState (closed already), InvalidField.
    """
    if not by.strip() or not note.strip():
        raise InvalidField("Say who closes it and why.")
    row = (
        await session.execute(
            text(
                "UPDATE cases SET status = 'closed', closed_at = bifold_now(), closed_by = :by,"
                " closing_note = :note WHERE id = :id AND status = 'open' RETURNING *"
            ),
            {"id": case_id, "by": by, "note": note},
        )
    ).one_or_none()
    if row is None:
        found = await get(session, case_id)
        raise InvalidState(f"It was closed by {found.closed_by}.", extra={"state": found.status})
    log.info("case.closed", case=case_id, by=by, note=note)
    return _case(row)


async def get(session: AsyncSession, case_id: str, *, lock: bool = False) -> Case:
    """One case. Raises NotFound."""
    query = "SELECT * FROM cases WHERE id = :id" + (" FOR UPDATE" if lock else "")
    row = (await session.execute(text(query), {"id": case_id})).one_or_none()
    if row is None:
        raise NotFound("There is no such case.")
    return _case(row)


async def listed(
    session: AsyncSession, *, open_only: bool = True, kind: Kind | None = None
) -> list[Case]:
    """Oldest first; of more than can be listed, the newest."""
    rows = await session.execute(
        text(
            "SELECT * FROM (SELECT * FROM cases WHERE (NOT :open OR status = 'open')"
            "  AND (CAST(:kind AS text) IS NULL OR kind = :kind)"
            "  ORDER BY opened_at DESC, id DESC LIMIT :most) AS newest ORDER BY opened_at, id"
        ),
        {"open": open_only, "kind": kind, "most": LISTED_AT_MOST},
    )
    return [_case(row) for row in rows]


async def open_counts(session: AsyncSession) -> dict[str, int]:
    """How many are open of every kind, zero too: an alarm must see the figure it waits for."""
    rows = await session.execute(
        text("SELECT kind, count(*) AS n FROM cases WHERE status = 'open' GROUP BY kind")
    )
    return dict.fromkeys(KINDS, 0) | {row.kind: int(row.n) for row in rows}


def _case(row: Any) -> Case:
    return Case(
        row.id, row.kind, row.subject_type, row.subject, row.network, row.asset, row.severity,
        row.what, row.evidence, row.status, row.opened_at, row.closed_at, row.closed_by,
        row.closing_note,
    )  # fmt: skip

"""Queries of readings: stored whole, never changed, forgotten by the database's own rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.ids import new_id
from wallet.reconcile.reading import Reading

FORGET_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Kept:
    """One stored reading. `reads`: its sources; `off`: its lines that did not agree."""

    id: str
    outcome: str
    started_at: datetime
    seconds: float
    reads: list[Any]
    off: list[Any]


async def store(session: AsyncSession, reading: Reading) -> str:
    """Keep a reading. Returns its id."""
    run_id = new_id("rec")
    await session.execute(
        text(
            "INSERT INTO reconcile_runs (id, outcome, started_at) VALUES (:id, :outcome, :started)"
        ),
        {"id": run_id, "outcome": reading.outcome, "started": reading.started_at},
    )
    await session.execute(
        text(
            "INSERT INTO reconcile_reads (run_id, source, unknown_reason, block_number, block_hash,"
            " final) VALUES (:run, :source, :unknown, :number, :hash, :final)"
        ),
        [
            {
                "run": run_id, "source": read.source, "unknown": read.unknown_reason,
                "number": None if read.block is None else read.block.number,
                "hash": None if read.block is None else read.block.hash,
                "final": None if read.block is None else read.final,
            }
            for read in reading.reads
        ],
    )  # fmt: skip
    lines = [
        {
            "run": run_id, "source": read.source, "account": line.account, "asset": line.asset,
            "ledger": line.ledger_minor, "outside": line.outside_minor,
            "in_flight": line.in_flight_minor, "difference": line.difference,
            "balanced": line.balanced, "note": line.note,
        }
        for read in reading.reads
        for line in read.lines
    ]  # fmt: skip
    if lines:
        await session.execute(
            text(
                "INSERT INTO reconcile_lines (run_id, source, account, asset, ledger_minor,"
                " outside_minor, in_flight_minor, difference_minor, balanced, note) VALUES (:run,"
                " :source, :account, :asset, :ledger, :outside, :in_flight, :difference, :balanced,"
                " :note)"
            ),
            lines,
        )
    return run_id


async def off_before(session: AsyncSession, *, run_id: str, source: str) -> dict[str, str]:
    """Accounts that did not agree when this source was last known before, and that reading's id."""
    rows = await session.execute(
        text(
            "SELECT l.account, l.run_id FROM reconcile_lines l WHERE NOT l.balanced"
            " AND l.source = :source AND l.run_id = (SELECT d.run_id FROM reconcile_reads d"
            "  WHERE d.source = :source AND d.unknown_reason IS NULL AND d.run_id < :run"
            "  ORDER BY d.run_id DESC LIMIT 1)"
        ),
        {"source": source, "run": run_id},
    )
    return {row.account: row.run_id for row in rows}


async def forget(session: AsyncSession) -> int:
    """Let old readings go as r0026 says; returns how many went."""
    gone = await session.scalar(text("SELECT reconcile_forget(:most)"), {"most": FORGET_AT_ONCE})
    return int(gone or 0)


async def newest(session: AsyncSession, *, limit: int) -> list[Kept]:
    """The newest readings, newest first."""
    runs = (
        await session.execute(
            text(
                "SELECT id, outcome, started_at,"
                " extract(epoch FROM ended_at - started_at)::float8 AS seconds"
                " FROM reconcile_runs ORDER BY started_at DESC, id DESC LIMIT :limit"
            ),
            {"limit": limit},
        )
    ).all()
    ids = [run.id for run in runs]
    reads = await _by_run(session, "SELECT * FROM reconcile_reads", ids, "source")
    off = await _by_run(
        session, "SELECT * FROM reconcile_lines", ids, "account", also=" AND NOT balanced"
    )
    return [
        Kept(run.id, run.outcome, run.started_at, run.seconds, reads[run.id], off[run.id])
        for run in runs
    ]


async def _by_run(
    session: AsyncSession, query: str, ids: Sequence[str], order: str, *, also: str = ""
) -> dict[str, list[Any]]:
    rows = await session.execute(
        text(f"{query} WHERE run_id = ANY(:ids){also} ORDER BY {order}"), {"ids": list(ids)}
    )
    found: dict[str, list[Any]] = {run_id: [] for run_id in ids}
    for row in rows:
        found[row.run_id].append(row)
    return found

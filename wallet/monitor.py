"""How the instance is: database, schema, networks, processes, queues."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import cases, seal

NETWORK_FRESH_SECONDS = 15  # decision 31: an older view of a network is unavailable
PROCESS_FRESH_SECONDS = 15  # takeover of a dead worker takes at most as long


@dataclass(frozen=True, slots=True)
class NetworkVitals:
    """What the observer last wrote about a network, and where the scanner stands."""

    name: str
    healthy: bool
    halted: bool
    age_seconds: float | None
    scanner_lag_blocks: int | None
    scanner_gaps: int

    @property
    def well(self) -> bool:
        """Seen a moment ago, in order, not halted."""
        # Not said after now either, by a clock that was set back since.
        fresh = self.age_seconds is not None and abs(self.age_seconds) <= NETWORK_FRESH_SECONDS
        return self.healthy and fresh and not self.halted


@dataclass(frozen=True, slots=True)
class ProcessVitals:
    """What a process, or the supervisor on its behalf, last said."""

    name: str
    healthy: bool
    age_seconds: float

    @property
    def well(self) -> bool:
        """It said so, and lately."""
        return self.healthy and abs(self.age_seconds) <= PROCESS_FRESH_SECONDS


@dataclass(frozen=True, slots=True)
class Vitals:
    """One look at everything."""

    revision: str | None
    networks: tuple[NetworkVitals, ...]
    processes: tuple[ProcessVitals, ...]
    jobs: dict[str, int]
    outbox_rows: int
    seal_tail_seconds: float
    open_cases: dict[str, int]
    reconciled: dict[str, float | None]
    """Source of the newest reading → seconds since it was last known; None: it never was."""


def newest_revision() -> str:
    """The revision this code needs, from the files' names: Alembic itself stays unloaded."""
    versions = Path(__file__).parent / "migrations" / "versions"
    return max(file.name.partition("_")[0] for file in versions.glob("r[0-9]*.py"))


async def vitals(session: AsyncSession) -> Vitals:
    """Read everything in one short transaction."""
    return Vitals(
        revision=await session.scalar(text("SELECT max(version_num) FROM alembic_version")),
        networks=await _networks(session),
        processes=await _processes(session),
        jobs=await _jobs(session),
        outbox_rows=int(await session.scalar(text("SELECT count(*) FROM outbox")) or 0),
        seal_tail_seconds=await seal.tail_seconds(session),
        open_cases=await cases.open_counts(session),
        reconciled=await _reconciled(session),
    )


async def _reconciled(session: AsyncSession) -> dict[str, float | None]:
    rows = await session.execute(
        text(
            "SELECT d.source, extract(epoch FROM clock_timestamp() - (SELECT r.started_at"
            "  FROM reconcile_reads known JOIN reconcile_runs r ON r.id = known.run_id"
            "  WHERE known.source = d.source AND known.unknown_reason IS NULL"
            "  ORDER BY known.run_id DESC LIMIT 1))::float8 AS age FROM reconcile_reads d"
            " WHERE d.run_id = (SELECT id FROM reconcile_runs ORDER BY started_at DESC, id DESC"
            "  LIMIT 1) ORDER BY d.source"
        )
    )
    return {row.source: row.age for row in rows}


async def _networks(session: AsyncSession) -> tuple[NetworkVitals, ...]:
    rows = await session.execute(
        text(
            "SELECT n.network, n.healthy, n.halted_reason IS NOT NULL AS halted,"
            " extract(epoch FROM clock_timestamp() - n.as_of)::float8 AS age,"
            " greatest(n.head_number - s.tip_number, 0) AS lag,"
            # A block whose parent is not the block before it: never, or the scanner is broken.
            " (SELECT count(*) FROM (SELECT number - lag(number) OVER w AS step,"
            "   parent_hash IS DISTINCT FROM lag(hash) OVER w AS torn FROM chain_blocks b"
            "   WHERE b.network = n.network WINDOW w AS (ORDER BY number)) AS links"
            "  WHERE step <> 1 OR (step = 1 AND torn)) AS gaps"
            " FROM network_state n LEFT JOIN scan_state s USING (network) ORDER BY n.network"
        )
    )
    return tuple(NetworkVitals(r.network, r.healthy, r.halted, r.age, r.lag, r.gaps) for r in rows)


async def _processes(session: AsyncSession) -> tuple[ProcessVitals, ...]:
    """Workers come and go under names of their own: together they are as well as the best one."""
    rows = await session.execute(
        text(
            "SELECT name, healthy, extract(epoch FROM clock_timestamp() - at)::float8 AS age"
            " FROM process_state ORDER BY name"
        )
    )
    single: list[ProcessVitals] = []
    workers: list[ProcessVitals] = []
    for row in rows:
        seen = ProcessVitals(row.name, row.healthy, row.age)
        (workers if seen.name.startswith("worker:") else single).append(seen)
    best = min(workers, key=lambda seen: (not seen.well, seen.age_seconds), default=None)
    if best is not None:
        single.append(ProcessVitals("workers", best.healthy, best.age_seconds))
    return tuple(single)


async def _jobs(session: AsyncSession) -> dict[str, int]:
    rows = await session.execute(
        text("SELECT status::text AS status, count(*) AS n FROM jobs.procrastinate_jobs GROUP BY 1")
    )
    return {row.status: int(row.n) for row in rows}

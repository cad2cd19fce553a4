"""One audit: every check in one snapshot, read as a role that can write nothing of the wallet's."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg

from wallet.auditor import chainread, computed
from wallet.auditor.chainread import ChainWord
from wallet.auditor.check import FINDINGS_OF_ONE_CHECK, Check, Finding, Scope, found_by
from wallet.auditor.instance import Instance
from wallet.auditor.rooms import (
    bank,
    books,
    corrections,
    entries,
    exchange,
    holds,
    promises,
    receiving,
    seal,
    sending,
    topups,
)

ROOMS: dict[str, tuple[Check, ...]] = {
    "books": books.CHECKS,
    "entries and their causes": entries.CHECKS,
    "top-ups and gateway": topups.CHECKS,
    "corrections": corrections.CHECKS,
    "holds": holds.CHECKS,
    "sending": sending.CHECKS,
    "receiving": receiving.CHECKS,
    "exchange and payments": exchange.CHECKS,
    "bank": bank.CHECKS,
    "promises": promises.CHECKS,
    "the seal": seal.CHECKS,
}
CHECKPOINTED = ("books", "the seal")
"""Rooms that start from a checkpoint: one is made only where these are sound."""
SETTLE_SECONDS = 10.0
"""How long to wait for transactions that may still commit below the newest posting."""
SEAL_MARGIN_SECONDS = 600.0
"""Links of this long before the last sound run are read again: one may have been committed late."""
SORT_MEMORY = "256MB"
Connection = psycopg.Connection[tuple[Any, ...]]


class CannotRead(Exception):
    """The database could not be read, so nothing can be said."""


@dataclass(slots=True)
class Report:
    """What one audit found. `settled`: the posting up to which nothing can appear any more, None
    when that is not known; a checkpoint is made only there."""

    started_at: datetime
    scope: Scope
    postings: int
    settled: int | None
    findings: list[Finding] = field(default_factory=list)
    checks: dict[str, int] = field(default_factory=dict)
    chains: list[ChainWord] = field(default_factory=list)
    truncated: list[str] = field(default_factory=list)
    unknown_assets: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        """Whether nothing is off. What the chain did not say is not off."""
        return not self.findings


def codes() -> dict[str, str]:
    """Every code and what it means."""
    known = {check.code: check.means for checks in ROOMS.values() for check in checks}
    return known | computed.MEANS | chainread.MEANS


def audit(
    url: str,
    instance: Instance,
    *,
    since_checkpoint: bool = False,
    ask_chain: bool = True,
    told: Callable[[str], None] = lambda room: None,
) -> Report:
    """Read everything, or what is new since the last clean checkpoint. Raises CannotRead."""
    began = time.monotonic()
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = on")
            settled = _settled(connection)
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            report = examine(
                connection,
                instance,
                settled=settled,
                since_checkpoint=since_checkpoint,
                ask_chain=ask_chain,
                told=told,
            )
            connection.execute("COMMIT")
    except psycopg.Error as error:
        raise CannotRead(str(error).strip() or type(error).__name__) from error
    report.seconds = time.monotonic() - began
    return report


def examine(
    connection: Connection,
    instance: Instance,
    *,
    settled: int | None = None,
    since_checkpoint: bool = False,
    ask_chain: bool = True,
    told: Callable[[str], None] = lambda room: None,
) -> Report:
    """Every check in the transaction that `connection` has open. Raises psycopg.Error."""
    connection.execute(f"SET LOCAL work_mem = '{SORT_MEMORY}'")
    connection.execute("SET LOCAL jit = off")
    report = _begin(connection, settled, since_checkpoint=since_checkpoint)
    for room, checks in ROOMS.items():
        told(room)
        _ask(connection, report, room, checks)
    told("signatures, prices, addresses")
    report.findings += computed.findings(connection, instance)
    report.checks["signatures, prices, addresses"] = len(computed.MEANS)
    report.unknown_assets = _unknown_assets(connection, instance)
    if ask_chain:
        told("the chain")
        report.chains = chainread.ask(connection, instance)
        report.findings += [one for word in report.chains for one in word.findings]
        report.checks["the chain"] = len(chainread.MEANS)
    return report


def _ask(connection: Connection, report: Report, room: str, checks: tuple[Check, ...]) -> None:
    scope = report.scope
    for check in checks:
        query = check.sql
        for name in ("after", "base", "sealed"):
            query = query.replace(f"{{{name}}}", str(getattr(scope, name)))
        rows = connection.execute(f"{query} LIMIT {FINDINGS_OF_ONE_CHECK + 1}").fetchall()
        if len(rows) > FINDINGS_OF_ONE_CHECK:
            report.truncated.append(check.code)
        report.findings += found_by(check, rows[:FINDINGS_OF_ONE_CHECK])
    report.checks[room] = len(checks)


def _settled(connection: Connection) -> int | None:
    """The newest posting below which no transaction can still bring one.

    Ids are given before they are committed. Whoever posts has written its entry before, so it has a
    transaction number by then: once all numbers given up to now have ended, all these ids are there
    or never will be.
    """
    row = connection.execute(
        "SELECT coalesce((SELECT max(id) FROM postings), 0), pg_is_in_recovery()"
    ).fetchone()
    assert row is not None
    newest, copy = int(row[0]), bool(row[1])
    if copy:
        return None  # a copy gives no numbers; it is audited whole
    # Above every number given by now. A snapshot's own upper end is not: it knows what has ended.
    row = connection.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
    assert row is not None
    next_number = int(row[0])
    until = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < until:
        now = connection.execute(
            "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        ).fetchone()
        if now is not None and int(now[0]) >= next_number:
            return newest
        time.sleep(0.05)
    return None


def _begin(connection: Connection, settled: int | None, *, since_checkpoint: bool) -> Report:
    scope = Scope()
    if since_checkpoint:
        row = connection.execute(
            "SELECT run_id, max(upto_posting) FROM audit_checkpoints GROUP BY run_id"
            " ORDER BY run_id DESC LIMIT 1"
        ).fetchone()
        if row is not None:
            base = int(row[0])
            scope = Scope(base=base, after=int(row[1]), sealed=_sealed(connection, base))
    row = connection.execute(
        f"SELECT count(*), clock_timestamp() FROM postings WHERE id > {scope.after}"
    ).fetchone()
    assert row is not None
    return Report(started_at=row[1], scope=scope, postings=int(row[0]), settled=settled)


def _sealed(connection: Connection, base: int) -> int:
    """A link that run `base` has surely read: one from well before it began, for a sealer commits
    within seconds of the time that it writes down. -1 when there is none: all are read."""
    row = connection.execute(
        "SELECT coalesce(min(s.seq) FILTER (WHERE s.sealed_at >= r.started_at"
        "  - make_interval(secs => %s)) - 1, max(s.seq), -1)"
        " FROM audit_runs r, seals s WHERE r.id = %s",
        (SEAL_MARGIN_SECONDS, base),
    ).fetchone()
    assert row is not None
    return int(row[0])


def _unknown_assets(connection: Connection, instance: Instance) -> list[str]:
    rows = connection.execute(
        "SELECT source_asset FROM quotes UNION SELECT target_asset FROM quotes"
    ).fetchall()
    return sorted(str(row[0]) for row in rows if instance.digits(str(row[0])) is None)

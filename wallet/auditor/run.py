"""One audit: every check in one snapshot, read as a role that can write nothing of the wallet's."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg

from wallet.auditor import chainread, computed, prices
from wallet.auditor.chainread import ChainWord
from wallet.auditor.check import (
    FINDINGS_OF_ONE_CHECK,
    Check,
    Finding,
    Pass,
    Scope,
    flat,
    found_by,
)
from wallet.auditor.instance import Instance
from wallet.auditor.rooms import (
    bank,
    books,
    corrections,
    entries,
    exchange,
    holds,
    oplog,
    places,
    promises,
    receiving,
    seal,
    sending,
    stories,
    topups,
)

ROOMS: dict[str, tuple[Check | Pass, ...]] = {
    "books": books.CHECKS,
    "entries and their causes": entries.CHECKS,
    "top-ups and gateway": topups.CHECKS,
    "corrections": corrections.CHECKS,
    "what entries tell": stories.CHECKS,
    "holds": holds.CHECKS,
    "sending": sending.CHECKS,
    "receiving": receiving.CHECKS,
    "addresses and blocks": places.CHECKS,
    "exchange and payments": exchange.CHECKS,
    "bank": bank.CHECKS,
    "promises": promises.CHECKS,
    "the operator log": oplog.CHECKS,
    "the seal": seal.CHECKS,
}
CHECKPOINTED = ("books", "the seal")
"""Rooms that start from a checkpoint: one is made only where these are sound."""
SETTLE_SECONDS = 10.0
"""How long to wait for transactions that may still commit below the newest posting."""
SEAL_MARGIN_SECONDS = 600.0
"""Links of this long before the last sound run are read again: one may have been committed late."""
READERS = 2
"""Connections that ask at the same time, all in one snapshot: what two cores can answer."""
SORT_MEMORY = "256MB"
FIRST = "the seal"
"""The room with the longest checks: begun first, so that no reader waits for one at the end."""
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
    underived: bool = False
    """Deposit addresses are there, and no keys file to derive them from."""
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        """Whether nothing is off. What the chain did not say is not off."""
        return not self.findings

    @property
    def complete(self) -> bool:
        """Whether everything could be asked."""
        silent = any(word.unknown is not None for word in self.chains)
        return not (silent or self.unknown_assets or self.underived)


def codes() -> dict[str, str]:
    """Every code and what it means."""
    known = {check.code: check.means for room in ROOMS.values() for check in flat(room)}
    return known | computed.MEANS | prices.MEANS | chainread.MEANS


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
            with _helpers(url, connection) as helpers:
                report = examine(
                    connection,
                    instance,
                    helpers=helpers,
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


@contextmanager
def _helpers(url: str, connection: Connection) -> Iterator[list[Connection]]:
    """More connections that see the very moment which `connection` sees."""
    row = connection.execute("SELECT pg_export_snapshot()").fetchone()
    assert row is not None
    with ExitStack() as stack:
        helpers = []
        for _ in range(READERS - 1):
            helper = stack.enter_context(psycopg.connect(url, autocommit=True))
            helper.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            helper.execute(f"SET TRANSACTION SNAPSHOT '{row[0]}'")
            helpers.append(helper)
        yield helpers


def examine(
    connection: Connection,
    instance: Instance,
    *,
    helpers: Sequence[Connection] = (),
    settled: int | None = None,
    since_checkpoint: bool = False,
    ask_chain: bool = True,
    told: Callable[[str], None] = lambda room: None,
) -> Report:
    """Every check in the transaction that `connection` has open; `helpers` take their share, each
    in its own transaction of the same snapshot. Raises psycopg.Error."""
    for reader in (connection, *helpers):
        reader.execute(f"SET LOCAL work_mem = '{SORT_MEMORY}'")
        reader.execute("SET LOCAL jit = off")
        # The readers are what runs in parallel; workers of theirs would take the cores twice.
        reader.execute("SET LOCAL max_parallel_workers_per_gather = 0")
    report = _begin(connection, settled, since_checkpoint=since_checkpoint)
    asking = _Asking(report.scope, told)
    with ThreadPoolExecutor(max_workers=max(len(helpers), 1)) as threads:
        shares = [threads.submit(asking.share, helper) for helper in helpers]
        try:
            told("signatures, prices, addresses")
            computed_findings = [
                *computed.findings(connection, instance),
                *prices.findings(connection, instance),
            ]
            if ask_chain:
                told("the chain")
                report.chains = chainread.ask(connection, instance)
            asking.share(connection)
        finally:
            asking.waiting.clear()  # after an error nobody begins another check
        for share in shares:
            share.result()
    asking.tell(report)
    report.findings += computed_findings
    report.checks["signatures, prices, addresses"] = len(computed.MEANS | prices.MEANS)
    report.unknown_assets = _unknown_assets(connection, instance)
    report.underived = instance.xpub is None and _has_addresses(connection, instance)
    if ask_chain:
        report.findings += [one for word in report.chains for one in word.findings]
        report.checks["the chain"] = len(chainread.MEANS)
    return report


class _Asking:
    """All questions, given out one at a time to whoever has a connection free."""

    def __init__(self, scope: Scope, told: Callable[[str], None]) -> None:
        self.scope = scope
        self.told = told
        rooms = sorted(ROOMS, key=lambda room: room != FIRST)
        self.waiting = deque((room, question) for room in rooms for question in ROOMS[room])
        self.answers: dict[str, list[tuple[Any, ...]]] = {}

    def share(self, connection: Connection) -> None:
        """Ask until no question waits. Raises psycopg.Error, and leaves the rest unasked then."""
        try:
            while self.waiting:
                try:
                    room, question = self.waiting.popleft()
                except IndexError:
                    return  # another reader took the last one
                self.told(room)
                self.answers |= _ask(connection, self.scope, question)
        except BaseException:
            self.waiting.clear()
            raise

    def tell(self, report: Report) -> None:
        """What was found, in the order of the rooms."""
        for room, questions in ROOMS.items():
            checks = flat(questions)
            for check in checks:
                rows = self.answers[check.code]
                if len(rows) > FINDINGS_OF_ONE_CHECK:
                    report.truncated.append(check.code)
                report.findings += found_by(check, rows[:FINDINGS_OF_ONE_CHECK])
            report.checks[room] = len(checks)


def _ask(
    connection: Connection, scope: Scope, question: Check | Pass
) -> dict[str, list[tuple[Any, ...]]]:
    """Rows by code, of each at most one more than is told."""
    most = FINDINGS_OF_ONE_CHECK + 1
    query = question.sql
    for name in ("after", "base", "sealed"):
        query = query.replace(f"{{{name}}}", str(getattr(scope, name)))
    if isinstance(question, Check):
        return {question.code: connection.execute(f"{query} LIMIT {most}").fetchall()}
    answers: dict[str, list[tuple[Any, ...]]] = {check.code: [] for check in question.checks}
    rows = connection.execute(
        "SELECT code, subject, network, asset, expected, found FROM (SELECT f.*, row_number() OVER"
        f" (PARTITION BY code) AS nth FROM ({query}) f(code, subject, network, asset, expected,"
        f" found)) n WHERE nth <= {most}"
    )
    for code, *row in rows:
        answers[code].append(tuple(row))
    return answers


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


def _has_addresses(connection: Connection, instance: Instance) -> bool:
    """Whether there are deposit addresses that only the keys file can derive."""
    keyless = [name for name, network in instance.networks.items() if network.keyless]
    return bool(
        connection.execute(
            "SELECT EXISTS (SELECT FROM deposit_addresses WHERE network <> ALL (%s))", (keyless,)
        ).fetchall()[0][0]
    )


def _unknown_assets(connection: Connection, instance: Instance) -> list[str]:
    rows = connection.execute(
        "SELECT source_asset FROM quotes UNION SELECT target_asset FROM quotes"
    ).fetchall()
    return sorted(str(row[0]) for row in rows if instance.digits(str(row[0])) is None)

"""`./dev campaign audit [--books N] [--postings N]`: no false alarm, no break missed, and how fast.

Books: houses at random, everything by the front door, audited with the chain every few steps; a
finding is a false alarm, told by a line with the seed. Postings: books of that size made in bulk
(top-ups, transfers, their events and kept answers, all of it sealed), audited whole and from a
checkpoint. Corruptions: `tests/audit` plants each in healthy books; every one must be named.
Columns: each of every table is altered in one row of every sort; every one must be named, or be in
the list of what nothing tells (audit_unseen.py).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psycopg

from bench.campaigns.audit_columns import sweep
from bench.campaigns.audit_world import AuditWorld, tell
from chain.testing import AnvilProcess
from wallet import log
from wallet.auditor.instance import Instance
from wallet.auditor.record import keep
from wallet.auditor.run import Report, audit
from wallet.migrate import upgrade
from wallet.testing.databases import ScratchCluster, ScratchDatabase

STEPS_BETWEEN = 3
BOOKS_OF_A_HOUSE = 25
PEOPLE = 3
CUSTOMERS_PER_POSTINGS = 100
SEALED_AT_ONCE = 20_000
LIMIT_SECONDS = 60.0
"""The promise for a million postings."""
LEAST_KINDS = 60
CORRUPTIONS = "tests/audit/test_audit_corruptions.py"
_PLANTED = re.compile(r"^(PASSED|FAILED|ERROR) \S+::test_it_is_named\[(\w+): ", re.MULTILINE)


async def house(database: ScratchDatabase, seed: int, books: int) -> tuple[Counter[str], list[str]]:
    """One house for `books` audits: what was done in it, and the false alarms."""
    done: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="bifold-audit-") as name, AnvilProcess() as anvil:
        folder = Path(name)
        world = await AuditWorld.open(database, anvil.url, folder, seed)
        try:
            for _ in range(PEOPLE):
                await world.person()
            instance = Instance.read(folder / "networks.toml", folder / "keys.json")
            for book in range(books):
                for _ in range(STEPS_BETWEEN):
                    done[await world.step()] += 1
                await world.seal()  # a worker is a fifth of a second behind, never a minute
                report = await asyncio.to_thread(audit, database.conninfo("bifold_audit"), instance)
                done["book"] += 1
                done["chain read" if _chain_known(report) else "chain not known"] += 1
                if not report.clean:
                    return done, [
                        f"seed {seed}, book {book}: {one.code} {one.subject}: should be"
                        f" {one.expected}, is {one.found}"
                        for one in report.findings
                    ]
        finally:
            await world.close()
    return done, []


def _chain_known(report: Report) -> bool:
    return all(word.unknown is None for word in report.chains)


def random_books(
    cluster: ScratchCluster, *, books: int, seed: int, part: int = 0, workers: int = 1
) -> tuple[Counter[str], list[str]]:
    """The share of `part` in `books` audits of houses at random, a seed each; what was done in all,
    and the false alarms. A house with one ends there; the others go on."""
    done: Counter[str] = Counter()
    wrong: list[str] = []
    for number, first in list(enumerate(range(0, books, BOOKS_OF_A_HOUSE)))[part::workers]:
        database = cluster.create()
        some, alarms = asyncio.run(
            house(database, seed + number, min(BOOKS_OF_A_HOUSE, books - first))
        )
        cluster.drop(database)
        done += some
        wrong += alarms
        told = [f"  seed {seed + number}: {some['book']} books", *alarms]
        print("\n".join(told), file=sys.stderr, flush=True)
    return done, wrong


def _side_by_side(options: argparse.Namespace) -> tuple[Counter[str], list[str]]:
    """Houses shared among processes, each with a PostgreSQL of its own."""
    command = [
        *(sys.executable, "-m", "bench.campaigns", "audit", "--postings", "0"),
        *("--books", str(options.books), "--seed", str(options.seed)),
        *("--workers", str(options.workers)),
    ]
    running = [
        subprocess.Popen([*command, "--part", str(part)], stdout=subprocess.PIPE, text=True)
        for part in range(options.workers)
    ]
    answers = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit("a worker of the campaign ended badly")
    done: Counter[str] = Counter()
    wrong: list[str] = []
    for answer in map(json.loads, answers):
        done += Counter(answer["done"])
        wrong += answer["wrong"]
    return done, wrong


def bulk(database: ScratchDatabase, postings: int) -> None:
    """Sound books with about that many postings: everybody topped up, then transfers in turn."""
    people = max(postings // CUSTOMERS_PER_POSTINGS, 3)
    transfers = (postings - 2 * people) // 2
    with psycopg.connect(database.server.conninfo(database=database.name)) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET work_mem = '256MB'")
        for statement in _BULK:
            connection.execute(
                statement.replace("{people}", str(people)).replace("{transfers}", str(transfers))
            )
        connection.commit()
        connection.autocommit = True
        connection.execute("ANALYZE")
        while _one(connection, f"SELECT seal({SEALED_AT_ONCE})"):
            pass
        connection.execute("VACUUM ANALYZE")


def _one(connection: psycopg.Connection[tuple[int, ...]], query: str) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def corruptions() -> tuple[list[str], bool]:
    """A line about the planted corruptions, those that were not named, and whether all were."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", "--tb=no", "-p", "no:randomly", CORRUPTIONS],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    planted = _PLANTED.findall(ran.stdout)
    named = [code for outcome, code in planted if outcome == "PASSED"]
    missed = sorted({code for outcome, code in planted if outcome != "PASSED"})
    kinds = len(set(named))
    return [
        *(f"not named: {code}" for code in missed),
        f"{len(planted)} corruptions, {len(named)} named, of {kinds} kinds",
    ], ran.returncode == 0 and kinds >= LEAST_KINDS


def altered(seed: int) -> tuple[list[str], bool]:
    """Lines about every column altered, and whether each was named or listed."""
    log.configure("CRITICAL")  # losses and strays are errors in a log: nobody looks here
    cluster = ScratchCluster(durable=False, migrate=upgrade)
    try:
        database = cluster.create()
        with tempfile.TemporaryDirectory(prefix="bifold-audit-") as name, AnvilProcess() as anvil:
            instance = asyncio.run(tell(database, anvil.url, Path(name)))
            with psycopg.connect(cluster.server.conninfo(database=database.name)) as connection:
                figures = sweep(connection, instance, seed=seed)
                connection.rollback()
    finally:
        cluster.close()
    return figures.lines(), not figures.wrong


_GIVEN = 10**9
_BULK = (
    "INSERT INTO principals (id, kind) SELECT 'usr_' || i, 'user' FROM generate_series(1,"
    " {people}) i",
    "INSERT INTO accounts (id, path, principal_id, asset, kind, side) SELECT 'acc_' || i,"
    " 'customer:usr_' || i || ':EUR', 'usr_' || i, 'EUR', 'customer', 'C'"
    " FROM generate_series(1, {people}) i",
    "INSERT INTO accounts (id, path, asset, kind, side) VALUES"
    " ('acc_bank', 'bank:simbank:EUR', 'EUR', 'system', 'D')",
    "INSERT INTO entries (id, kind, ref, event_at) SELECT 'ent_b' || i, 'topup', 'b' || i,"
    " clock_timestamp() FROM generate_series(1, {people}) i",
    "INSERT INTO topups (id, principal_id, method, asset, amount_minor, status, entry_id, ended_at)"
    f" SELECT 'b' || i, 'usr_' || i, 'bank_transfer', 'EUR', {_GIVEN}, 'succeeded', 'ent_b' || i,"
    " clock_timestamp() FROM generate_series(1, {people}) i",
    "INSERT INTO bank_credits (bank, line_id, bank_reference, principal_id, asset, amount_minor,"
    f" entry_id, topup_id) SELECT 'simbank', i, 'b' || i, 'usr_' || i, 'EUR', {_GIVEN},"
    " 'ent_b' || i, 'b' || i FROM generate_series(1, {people}) i",
    "INSERT INTO bank_lines (bank, line_id, asset, kind, reference, amount_minor, at, matched_at)"
    f" SELECT 'simbank', i, 'EUR', 'credit', 'b' || i, {_GIVEN}, clock_timestamp(),"
    " clock_timestamp() FROM generate_series(1, {people}) i",
    "INSERT INTO simbank.statement (asset, kind, reference, amount_minor, balance_after_minor, at)"
    f" SELECT 'EUR', 'credit', reference, {_GIVEN}, line_id::numeric * {_GIVEN}, at"
    " FROM bank_lines ORDER BY line_id",
    "INSERT INTO simbank.accounts (asset, number, balance_minor)"
    f" VALUES ('EUR', '1', {{people}}::numeric * {_GIVEN})",
    "INSERT INTO entries (id, kind, ref, event_at) SELECT 'ent_t' || i, 'transfer', 'trf_' || i,"
    " clock_timestamp() FROM generate_series(1, {transfers}) i",
    "INSERT INTO transfers (id, payer_id, payee_id, asset, amount_minor, entry_id) SELECT"
    " 'trf_' || i, 'usr_' || i % {people} + 1, 'usr_' || (i + 1 + i / {people}) % {people} + 1,"
    " 'EUR', i % 977 + 1, 'ent_t' || i FROM generate_series(1, {transfers}) i"
    " WHERE (i + 1 + i / {people}) % {people} <> i % {people}",
    "DELETE FROM entries e WHERE kind = 'transfer'"
    " AND NOT EXISTS (SELECT FROM transfers t WHERE t.entry_id = e.id)",
    "INSERT INTO idempotency_answers (principal_id, method, route, key, fingerprint, status, body)"
    " SELECT payer_id, 'POST', '/v1/transfers', id, '\\x00', 201, jsonb_build_object('id', id,"
    " 'money', jsonb_build_object('amount', round(amount_minor / 100, 2)::text, 'asset', asset))"
    " FROM transfers",
    "INSERT INTO events (seq, id, principal_id, type, ref, data, created_at) SELECT"
    " row_number() OVER (), 'evt_' || row_number() OVER (), p.principal,"
    " 'transfer.completed', t.id,"
    " '{}', clock_timestamp() FROM transfers t,"
    " LATERAL (VALUES (t.payer_id), (t.payee_id)) p(principal)",
    "INSERT INTO postings (entry_id, account_id, asset, amount_minor, account_seq,"
    " balance_after_minor) SELECT entry_id, account_id, 'EUR', amount,"
    " CASE WHEN account_id <> 'acc_bank' THEN row_number() OVER w END,"
    " CASE WHEN account_id <> 'acc_bank' THEN sum(amount) OVER w END FROM ("
    "  SELECT 0 AS n, entry_id, 'acc_' || substr(principal_id, 5) AS account_id,"
    "   amount_minor AS amount FROM bank_credits UNION ALL"
    "  SELECT 0, entry_id, 'acc_bank', -amount_minor FROM bank_credits UNION ALL"
    "  SELECT substr(id, 5)::int, entry_id, 'acc_' || substr(payer_id, 5), -amount_minor"
    "   FROM transfers UNION ALL"
    "  SELECT substr(id, 5)::int, entry_id, 'acc_' || substr(payee_id, 5), amount_minor"
    "   FROM transfers) l WINDOW w AS (PARTITION BY account_id ORDER BY n, entry_id) ORDER BY n",
    "UPDATE accounts a SET balance_minor = p.amount, posting_count = p.lines FROM"
    " (SELECT account_id, sum(amount_minor) AS amount, count(*) AS lines FROM postings"
    " GROUP BY 1) p"
    " WHERE p.account_id = a.id",
    "INSERT INTO unsealed (entry_id) SELECT id FROM entries",
)


def _server_cpu(database: ScratchDatabase) -> float:
    """Processor seconds of connections that have ended: a busy machine does not stretch them.

    Waits until all of them have: who made the books must not be counted with who reads them.
    """
    with psycopg.connect(database.server.conninfo(), autocommit=True) as connection:
        while _one(
            connection,
            f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database.name}'"
            " AND backend_type = 'client backend'",
        ):
            time.sleep(0.05)
        time.sleep(0.2)  # gone from the list a moment before it is counted
    postmaster = (database.server.data_dir / "postmaster.pid").read_text().split()[0]
    fields = Path(f"/proc/{postmaster}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def speed(cluster: ScratchCluster, postings: int) -> tuple[list[str], float]:
    """Lines about one big book, and how long the whole audit took. Raises AssertionError."""
    database = cluster.create()
    bulk(database, postings)
    reader = database.conninfo("bifold_audit")
    before = _server_cpu(database)
    whole = audit(reader, Instance(), ask_chain=False)
    cpu = _server_cpu(database) - before
    assert whole.clean, [f"{one.code} {one.subject}" for one in whole.findings[:5]]
    began = time.monotonic()
    keep(reader, whole)
    kept = time.monotonic() - began
    again = audit(reader, Instance(), since_checkpoint=True, ask_chain=False)
    assert again.clean and again.postings == 0
    cluster.drop(database)
    checks = sum(whole.checks.values())
    return [
        f"{whole.postings:,} postings, {checks} checks: {whole.seconds:.1f} s,"
        f" {whole.postings / whole.seconds:,.0f} postings a second; {cpu:.1f} s of them the"
        " database's processors",
        f"the checkpoint: {kept:.1f} s; from it: {again.seconds:.1f} s",
    ], whole.seconds


def main(arguments: list[str]) -> int:
    """Run it; 1 at a false alarm, at a corruption without its name, or when a million postings
    take longer than promised."""
    parser = argparse.ArgumentParser(prog="./dev campaign audit", description=__doc__)
    parser.add_argument("--books", type=int, default=1_000)
    parser.add_argument("--postings", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes for the random books")
    parser.add_argument("--no-corruptions", action="store_true", help="plant none")
    parser.add_argument("--no-columns", action="store_true", help="alter no column")
    parser.add_argument("--part", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.part is not None:
        # What the bank does with strangers' money is logged as a warning: nobody looks here.
        log.configure("CRITICAL")
        return _part(chosen)
    log.configure("ERROR")
    slow = bool(chosen.postings) and not _fast_enough(chosen.postings)
    unnamed = False
    if not chosen.no_corruptions:
        lines, all_named = corruptions()
        print("\n".join(lines), flush=True)
        unnamed = not all_named
    if not chosen.no_columns:
        lines, all_named = altered(chosen.seed)
        print("\n".join(lines), flush=True)
        unnamed = unnamed or not all_named
    wrong: list[str] = []
    if chosen.books:
        began = time.monotonic()
        done, wrong = _side_by_side(chosen)
        alarms = f"{len(wrong)} false alarms" if wrong else "no false alarm"
        print("\n".join([*wrong, f"{done['book']} random books, {alarms}"]))
        print(", ".join(f"{name} {count}" for name, count in sorted(done.items())))
        print(f"{time.monotonic() - began:.0f} s")
    return int(bool(wrong) or slow or unnamed)


def _part(chosen: argparse.Namespace) -> int:
    cluster = ScratchCluster(durable=False, migrate=upgrade)
    try:
        done, wrong = random_books(
            cluster,
            books=chosen.books,
            seed=chosen.seed,
            part=chosen.part,
            workers=chosen.workers,
        )
    finally:
        cluster.close()
    print(json.dumps({"done": done, "wrong": wrong}))
    return 0


def _fast_enough(postings: int) -> bool:
    cluster = ScratchCluster(durable=False, migrate=upgrade)
    try:
        lines, seconds = speed(cluster, postings)
    finally:
        cluster.close()
    print("\n".join(lines), flush=True)
    return seconds <= LIMIT_SECONDS * max(postings / 1_000_000, 1)

"""`./dev campaign audit [--books 1000] [--postings 1000000]`: no false alarm, and how fast.

Books: houses at random, everything by the front door, audited with the chain every few steps; a
finding is a false alarm and ends the campaign with a line. Postings: books of that size made in
bulk (top-ups, transfers, their events and kept answers, all of it sealed), audited whole and from a
checkpoint.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

import psycopg

from bench.campaigns.audit_world import AuditWorld
from chain.testing import AnvilProcess
from wallet import log
from wallet.auditor.instance import Instance
from wallet.auditor.record import keep
from wallet.auditor.run import Report, audit
from wallet.migrate import upgrade
from wallet.testing.databases import ScratchCluster, ScratchDatabase

STEPS_BETWEEN = 3
BOOKS_OF_A_HOUSE = 50
PEOPLE = 3
CUSTOMERS_PER_POSTINGS = 100
SEALED_AT_ONCE = 20_000
LIMIT_SECONDS = 60.0
"""The promise for a million postings."""


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
    cluster: ScratchCluster, *, books: int, seed: int
) -> tuple[Counter[str], list[str]]:
    """`books` audits of houses at random; what was done in all, and the false alarms."""
    done: Counter[str] = Counter()
    left = books
    while left > 0:
        database = cluster.create()
        some, wrong = asyncio.run(house(database, seed, min(left, BOOKS_OF_A_HOUSE)))
        cluster.drop(database)
        done += some
        if wrong:
            return done, wrong
        left -= BOOKS_OF_A_HOUSE
        print(f"  {books - max(left, 0)} books", flush=True)
        seed += 1
    return done, []


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
    "INSERT INTO simbank.statement (asset, kind, reference, amount_minor, balance_after_minor)"
    f" SELECT 'EUR', 'credit', 'b' || i, {_GIVEN}, i::numeric * {_GIVEN}"
    " FROM generate_series(1, {people}) i",
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
    """Processor seconds of connections that have ended: a busy machine does not stretch them."""
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
    """Run it; 1 at a false alarm, or when a million postings take longer than promised."""
    parser = argparse.ArgumentParser(prog="./dev campaign audit", description=__doc__)
    parser.add_argument("--books", type=int, default=1_000)
    parser.add_argument("--postings", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    log.configure("ERROR")
    cluster = ScratchCluster(durable=False, migrate=upgrade)
    slow = False
    wrong: list[str] = []
    try:
        if chosen.postings:
            lines, seconds = speed(cluster, chosen.postings)
            print("\n".join(lines), flush=True)
            slow = seconds > LIMIT_SECONDS * max(chosen.postings / 1_000_000, 1)
        if chosen.books:
            began = time.monotonic()
            done, wrong = random_books(cluster, books=chosen.books, seed=chosen.seed)
            print("\n".join(wrong or [f"{chosen.books} random books, no false alarm"]))
            print(", ".join(f"{name} {count}" for name, count in sorted(done.items())))
            print(f"{time.monotonic() - began:.0f} s")
    finally:
        cluster.close()
    return int(bool(wrong) or slow)

"""The sealed bytes are those of docs/ledger.md: three hands (page, Python, SQL) give the same."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import psycopg

from wallet.seal import canonical
from wallet.testing.databases import ScratchDatabase

PAGE = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text("utf-8")


def test_the_example_of_the_page_holds(database: ScratchDatabase) -> None:
    found = re.search(r"has the content\n`([^`]+)` and the digest\n`([0-9a-f]{64})`", PAGE)
    assert found is not None
    content, digest = found[1].encode(), bytes.fromhex(found[2])
    assert hashlib.sha256(content).digest() == digest
    assert canonical.event_digest(("1", "evt_1", None, "x", "y", "{}", "1000000")) == digest
    with psycopg.connect(database.conninfo("bifold_owner")) as owner:
        owner.execute(
            "INSERT INTO events (seq, id, type, ref, data, created_at)"
            " VALUES (1, 'evt_1', 'x', 'y', '{}', to_timestamp(1))"
        )
        assert owner.execute("SELECT content FROM seal_events").fetchall() == [(content,)]


def test_an_entry_of_odd_values_is_the_same_in_both(database: ScratchDatabase) -> None:
    """Long text, quotes, other scripts, the widest amount, nothing, and a time before 1970."""
    widest = str(10**78 - 1)
    with psycopg.connect(database.conninfo("bifold_owner")) as owner:
        owner.execute("SET timezone = 'Asia/Kathmandu'")
        owner.execute(
            "INSERT INTO accounts (id, path, asset, kind, side) VALUES"
            " ('h1', 'house:one:EUR', 'EUR', 'system', 'C'),"
            " ('h2', 'house:two:EUR', 'EUR', 'system', 'C')"
        )
        owner.execute(
            "INSERT INTO entries (id, kind, ref, meta, event_at) VALUES ('é,1:', %s, '钱包 💸', %s,"
            " '1969-12-31 23:59:59.999999+00')",
            ("k" * 3000, '{"b": 1.50, "aa": [null, "x\\u00e9\\n"], "z": 1e400}'),
        )
        owner.execute(
            "INSERT INTO postings (entry_id, account_id, asset, amount_minor)"
            f" VALUES ('é,1:', 'h1', 'EUR', {widest}), ('é,1:', 'h2', 'EUR', -{widest})"
        )
        entry = owner.execute(
            "SELECT id, kind, ref, reverses, meta::text, (extract(epoch FROM event_at) * 1000000)"
            "::bigint::text, (extract(epoch FROM created_at) * 1000000)::bigint::text FROM entries"
        ).fetchone()
        lines = owner.execute(
            "SELECT id::text, account_id, asset, amount_minor::text, NULL, NULL,"
            " (extract(epoch FROM created_at) * 1000000)::bigint::text FROM postings ORDER BY id"
        ).fetchall()
        assert entry is not None
        assert entry[5] == "-1"
        assert [line[3] for line in lines] == [widest, f"-{widest}"]
        stored = owner.execute("SELECT sha256(content) FROM seal_entries").fetchone()
        assert stored == (canonical.entry_digest(entry, lines),)


def test_no_two_lists_of_values_give_the_same_bytes() -> None:
    lists = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("abc", None), ("3:abc,",), ("-",)]
    made = {b"".join(map(canonical.field, values)) for values in lists}
    assert len(made) == len(lists)

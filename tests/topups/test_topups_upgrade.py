"""Transfers that were booked before r0030 get the line they were read from."""

from __future__ import annotations

import psycopg

from wallet.migrate import upgrade
from wallet.testing.databases import ScratchCluster

OLD = (
    "INSERT INTO bank_lines (bank, line_id, asset, kind, reference, amount_minor, at) VALUES"
    " ('simbank', 3, 'EUR', 'credit', 'b-1', 500, now()),"
    " ('simbank', 4, 'EUR', 'credit', 'b-1', -500, now()),"
    " ('simbank', 5, 'EUR', 'credit', 'b-2', 700, now()),"
    " ('simbank', 6, 'EUR', 'credit', 'b-3', 900, now()),"
    " ('simbank', 7, 'EUR', 'payout', 'b-2', -100, now())",
    "INSERT INTO bank_credits (bank_reference, principal_id, asset, amount_minor, entry_id,"
    " topup_id) VALUES ('b-1', 'usr_a', 'EUR', 500, 'ent_1', 'top_1')",
    "INSERT INTO bank_strays (id, bank, bank_reference, asset, amount_minor, about, entry_id,"
    " principal_id, proposed_by, approved_by, topup_id) VALUES"
    " ('una_1', 'simbank', 'b-2', 'EUR', 700, '', 'ent_2', 'usr_a', 'ada', 'bob', 'top_2'),"
    " ('una_2', 'simbank', 'b-3', 'EUR', 900, '', 'ent_3', NULL, NULL, NULL, NULL)",
)


def test_each_gets_its_own_line_and_what_was_agreed_stays(cluster: ScratchCluster) -> None:
    database = cluster.create(bare=True)
    upgrade(database.owner_url, "r0028")
    with psycopg.connect(cluster.server.conninfo(database=database.name)) as root:
        root.execute("SET session_replication_role = replica")  # the rows alone, without the rest
        for statement in OLD:
            root.execute(statement.encode())
    upgrade(database.owner_url)
    with psycopg.connect(database.conninfo("bifold_owner")) as owner:
        booked = owner.execute("SELECT bank, line_id, bank_reference FROM bank_credits").fetchall()
        assert booked == [("simbank", 3, "b-1")]
        kept = owner.execute("SELECT id, line_id, approved_by FROM bank_strays ORDER BY id")
        assert kept.fetchall() == [("una_1", 5, "bob"), ("una_2", 6, None)]
        try:
            owner.execute("UPDATE bank_strays SET about = 'x' WHERE id = 'una_1'")
        except psycopg.errors.RaiseException as error:
            assert "what two people agreed" in str(error)
        else:
            raise AssertionError("the trigger sleeps since the upgrade")

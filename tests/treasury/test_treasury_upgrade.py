"""Bounds and signatures of a house that is older than its warm tier mean the same afterwards."""

from __future__ import annotations

import psycopg
import pytest

from wallet.migrate import upgrade
from wallet.testing.databases import ScratchCluster

BEFORE = "the_treasury_before"
OPERATORS = ("0x" + "11" * 20, "0x" + "22" * 20)


def sign(owner: psycopg.Connection[tuple[object, ...]], operator: str, by: str | None) -> None:
    owner.execute(
        "INSERT INTO chain_approvals (intent_id, operator, signature, by_whom)"
        " VALUES ('int_1', %s, %s, %s)",
        (operator, bytes(65), by),
    )


def test_older_rows_are_hots_and_stay(cluster: ScratchCluster) -> None:
    server = cluster.server
    with psycopg.connect(server.conninfo(), autocommit=True) as root:
        root.execute(f"CREATE DATABASE {BEFORE} OWNER bifold_owner".encode())
    try:
        upgrade(server.url("bifold_owner", BEFORE), "r0031")
        with psycopg.connect(server.conninfo("bifold_owner", BEFORE), autocommit=True) as owner:
            owner.execute(
                "INSERT INTO float_bounds (network, asset, low_minor, high_minor, set_by)"
                " VALUES ('local', 'ETH', 1, 2, 'ops')"
            )
            owner.execute(
                "INSERT INTO chain_intents (id, purpose, ref, network, asset, to_address,"
                " amount_minor, gas_limit, fee_ceiling_wei) VALUES ('int_1', 'withdrawal', 'wdr_1',"
                " 'local', 'ETH', '0x', 1, 21000, 1)"
            )
            owner.execute(
                "INSERT INTO chain_approvals (intent_id, operator, signature)"
                " VALUES ('int_1', %s, %s)",
                (OPERATORS[0], bytes(65)),
            )
        upgrade(server.url("bifold_owner", BEFORE))
        with psycopg.connect(server.conninfo("bifold_owner", BEFORE), autocommit=True) as owner:
            bounds = "SELECT tier, low_minor, high_minor, set_by FROM float_bounds"
            assert owner.execute(bounds).fetchall() == [("hot", 1, 2, "ops")]
            owner.execute(
                "INSERT INTO float_bounds (network, asset, tier, low_minor, high_minor, set_by)"
                " VALUES ('local', 'ETH', 'warm', 3, 4, 'ops')"
            )
            kept = owner.execute("SELECT operator, by_whom FROM chain_approvals").fetchall()
            assert kept == [(OPERATORS[0], None)]
            sign(owner, OPERATORS[1], "ben")
            for operator, by in ((OPERATORS[1], "cy"), ("0x" + "33" * 20, "ben")):
                with pytest.raises(psycopg.errors.UniqueViolation):  # one key, or one name, twice
                    sign(owner, operator, by)
    finally:
        with psycopg.connect(server.conninfo(), autocommit=True) as root:
            root.execute(f"DROP DATABASE {BEFORE} WITH (FORCE)".encode())

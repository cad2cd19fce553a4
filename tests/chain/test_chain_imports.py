"""What importing a module of this room costs: no web3 but in chain.erc20, and no effects."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIGHT = [
    "address", "blocks", "client", "dev", "errors", "faults", "fees", "observe", "outcomes",
    "parse", "registry", "rpc", "snapshot", "testing", "transactions",
]  # fmt: skip


def modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


@pytest.mark.slow
def test_all_but_erc20_leave_web3_and_databases_alone() -> None:
    loaded = modules_after("\n".join(f"import chain.{name}" for name in LIGHT))
    foreign = {"web3", "eth_account", "sqlalchemy", "psycopg", "fastapi", "bip_utils", "mnemonic"}
    assert not loaded & foreign
    assert {f"chain.{name}" for name in LIGHT} <= loaded


@pytest.mark.slow
def test_typed_reads_are_where_web3_is() -> None:
    assert "web3" in modules_after("import chain.erc20")

"""One node for the contract tests; each test starts from the same snapshot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chain.testing import AnvilMissing, AnvilProcess
from chain.testing.evm import Evm

KNOWN = ("BatchPayout", "DepositSweeper", "SweepBatch", "ForwarderFactory", "RegulatedToken")


@pytest.fixture(scope="module")
def node() -> Iterator[Evm]:
    process = AnvilProcess(extra=("--hardfork", "prague"))
    try:
        process.start()
    except AnvilMissing as error:
        pytest.skip(f"anvil: {error}")
    evm = Evm(process.url, KNOWN)
    yield evm
    evm.close()
    process.stop()


@pytest.fixture
def evm(node: Evm) -> Iterator[Evm]:
    snapshot = node.rpc("evm_snapshot")
    yield node
    node.rpc("evm_revert", snapshot)

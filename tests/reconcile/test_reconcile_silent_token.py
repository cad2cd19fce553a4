"""A listed token that says nothing of balances hides nothing else of its network."""

from __future__ import annotations

import pytest

from chain.errors import NodeRejected
from wallet.reconcile import ReconcileWatch
from wallet.testing.seam import Seam

USDC = "chain:local:USDC:hot"


@pytest.mark.parametrize("silent", ["0x60006000fd", "0x00"])
async def test_it_alone_is_not_known(seam: Seam, silent: str) -> None:
    """It reverts, or answers no number."""
    await seam.node("anvil_setCode", seam.network.tokens[0].contract, silent)
    await seam.finish()
    reading = await ReconcileWatch(seam.db, {"local": seam.chain}, seam.assets).tick()
    assert reading.outcome == "unknown"
    [chain] = [read for read in reading.reads if read.source == "chain:local"]
    assert chain.unknown_reason is None and chain.final
    assert {line.asset for line in chain.lines} >= {"ETH"}
    assert USDC not in {line.account for line in chain.lines}
    assert [read.source for read in reading.reads if read.unknown_reason] == [USDC]


async def test_a_node_without_that_state_is_no_silent_token(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then nothing of its network is known."""

    async def pruned(addresses: list[str], asset: str, number: int) -> list[int]:
        raise NodeRejected(-32000, "missing trie node")

    async def said(address: str, asset: str, number: int) -> int | None:
        raise NodeRejected(-32000, "missing trie node")

    monkeypatch.setattr(seam.chain, "balances", pruned)
    monkeypatch.setattr(seam.chain, "said", said)
    reading = await ReconcileWatch(seam.db, {"local": seam.chain}, seam.assets).tick()
    [chain] = [read for read in reading.reads if read.source == "chain:local"]
    assert chain.unknown_reason is not None and not chain.lines

"""Fixtures of the chain tests; the bench itself is in benches.py."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from chain.testing import FakeNode
from chain.testing.fake_node import FAUCET
from tests.chain.benches import FAKE_CONTRACT, USDC_SUPPLY, Bench, anvil_bench, furnish


@pytest.fixture(params=["anvil", "fake"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """The same suite on both nodes keeps the fake honest."""
    if request.param == "anvil":
        async for bench in anvil_bench():
            yield bench
        return
    node = FakeNode()
    usdc = node.add_token(FAKE_CONTRACT, owner=FAUCET, supply=USDC_SUPPLY)
    yield await furnish("fake", node.rpc, usdc, None)


@pytest.fixture
async def on_anvil() -> AsyncIterator[Bench]:
    """A bench on Anvil only."""
    async for bench in anvil_bench():
        yield bench

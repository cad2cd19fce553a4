"""Whose word it is when the factory cannot be asked for its first address."""

from __future__ import annotations

import dataclasses

import pytest

from chain import factory
from chain.client import ChainClient
from chain.errors import LIMIT_EXCEEDED, NodeRejected
from chain.factory import ForeignFactory, demand_factory
from chain.testing import FakeNode
from tests.chain.benches import local_network

FACTORY = "0x" + "1" * 40


@pytest.mark.parametrize(
    ("refusal", "raised"),
    [
        (NodeRejected(3, "execution reverted"), ForeignFactory),
        (NodeRejected(-32000, "VM Exception while processing transaction: revert"), ForeignFactory),
        (NodeRejected(LIMIT_EXCEEDED, "too many requests"), NodeRejected),
        (NodeRejected(-32000, "header not found"), NodeRejected),
    ],
)
async def test_a_nodes_refusal_is_no_foreign_factory(
    monkeypatch: pytest.MonkeyPatch, refusal: NodeRejected, raised: type[Exception]
) -> None:
    network = dataclasses.replace(local_network(), contracts={"forwarder_factory": FACTORY})
    monkeypatch.setattr(factory, "factory_of", lambda _: FACTORY)
    chain = ChainClient(network, FakeNode().rpc)

    async def refuse(*_: object) -> bytes:
        raise refusal

    monkeypatch.setattr(chain, "eth_call", refuse)
    with pytest.raises(raised):
        await demand_factory(chain)

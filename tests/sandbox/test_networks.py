"""What the sandbox says of its own node is what that node does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chain.address import checked
from chain.client import ChainClient
from chain.errors import NodeRejected
from chain.rpc import JsonRpc
from chain.testing import AnvilProcess
from chain.transactions import Authorization
from wallet.sandbox.anvil import HARDFORK
from wallet.sandbox.networks import OWN_NODE_SUPPORTS, LocalChain, at_address, first_network

DEAD = "0x000000000000000000000000000000000000dEaD"
CHAIN = LocalChain(
    chain_id=31337,
    block1_hash="0x" + "1" * 64,
    tokens={
        code: checked(f"0x{number:040x}") for number, code in enumerate(("USDC", "EURC", "DAI"), 1)
    },
)


async def test_delegations_are_claimed_only_where_the_node_knows_them() -> None:
    network = first_network(CHAIN, rpc_url="http://127.0.0.1:1", own_node=True)
    with AnvilProcess(extra=("--hardfork", HARDFORK)) as node:
        rpc = JsonRpc(node.url)
        client = ChainClient(network, rpc)
        wish = Authorization(31337, DEAD, 0, 0, 1, 1)
        try:
            gas = await client.estimate_gas(DEAD, DEAD, 0, b"", [wish])
            known = gas > 25_000
        except NodeRejected:
            known = False
        finally:
            await rpc.aclose()
    assert known is ("eip7702" in network.supports)


@pytest.mark.parametrize("own", [True, False])
def test_an_older_file_is_mended_at_the_next_start(own: bool) -> None:
    fresh = first_network(CHAIN, rpc_url="http://127.0.0.1:1", own_node=own)
    older = replace(fresh, supports=("eip7702", "traces"))
    moved = at_address(older, "http://127.0.0.1:2")
    assert moved.rpc_urls == ("http://127.0.0.1:2",)
    assert moved.supports == (OWN_NODE_SUPPORTS if own else ())

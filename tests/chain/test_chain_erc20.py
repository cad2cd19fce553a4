"""Typed reads through web3 keep our transport's rules, and a hostile token stays inside them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pytest_httpserver import HTTPServer

from chain.client import ChainClient
from chain.erc20 import Erc20, RpcProvider, TokenMismatch, verify_tokens
from chain.errors import NodeGarbage, NodeRejected, NodeUnavailable
from chain.registry import Token
from chain.rpc import JsonRpc
from contracts.loader import artifact
from tests.chain.benches import OUTSIDER, SIGNER, USDC_SUPPLY, Bench, local_network


async def test_facts_and_past_balances(on_anvil: Bench) -> None:
    token = Erc20(on_anvil.rpc, on_anvil.usdc)
    facts = await token.facts()
    assert (facts.name, facts.symbol, facts.decimals) == ("USD Coin", "USDC", 6)
    assert facts.total_supply == USDC_SUPPLY
    before = (await on_anvil.client.head()).number
    await on_anvil.send_token(OUTSIDER, 9)
    assert await token.balance_of(OUTSIDER, block_number=before) == 0
    assert await token.balance_of(OUTSIDER, block_number=before + 1) == 9
    raw = await on_anvil.client.balances([OUTSIDER, SIGNER], "USDC", before + 1)
    typed = [await token.balance_of(item, block_number=before + 1) for item in (OUTSIDER, SIGNER)]
    assert raw == typed


async def test_verify_tokens(on_anvil: Bench) -> None:
    network = on_anvil.client.network
    await verify_tokens(network, on_anvil.rpc)
    for wrong in (Token("USDC", on_anvil.usdc, 18), Token("USDC", OUTSIDER, 6)):
        with pytest.raises(TokenMismatch, match="USDC"):
            await verify_tokens(replace(network, tokens=(wrong,)), on_anvil.rpc)


async def test_a_token_cannot_make_us_fetch_its_url(
    on_anvil: Bench, httpserver: HTTPServer
) -> None:
    """CVE-2026-40072: with CCIP-Read on, a revert orders the client to GET or POST a URL."""
    httpserver.expect_request("/bait").respond_with_json({"data": "0x"})
    liar = await on_anvil.dev.deploy(
        artifact("OffchainLookupToken"), [httpserver.url_for("/bait?{sender}{data}")]
    )
    with pytest.raises(NodeRejected):
        await Erc20(on_anvil.rpc, liar).decimals()
    assert httpserver.log == []


async def test_no_contract_is_garbage_and_no_node_is_unavailable(on_anvil: Bench) -> None:
    with pytest.raises(NodeGarbage):
        await Erc20(on_anvil.rpc, OUTSIDER).decimals()
    away = JsonRpc("http://127.0.0.1:1")
    with pytest.raises(NodeUnavailable):
        await Erc20(away, OUTSIDER).decimals()
    assert not await RpcProvider(away).is_connected()
    assert await RpcProvider(on_anvil.rpc).is_connected()
    await away.aclose()


async def test_one_read_is_one_request(on_anvil: Bench) -> None:
    asked: list[str] = []

    class Counting(JsonRpc):
        async def call(self, method, params=()):  # type: ignore[no-untyped-def]
            asked.append(method)
            return await super().call(method, params)

    assert on_anvil.url is not None
    rpc = Counting(on_anvil.url)
    assert await ChainClient(local_network(), rpc).is_contract(on_anvil.usdc)
    await Erc20(rpc, on_anvil.usdc).decimals()
    await rpc.aclose()
    assert asked == ["eth_getCode", "eth_call"]

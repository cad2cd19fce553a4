"""Fees beyond gas: OP's L1 data fee and operator fee, Arbitrum's gas units."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chain import fee_models
from chain.blocks import parse_receipt
from chain.client import ChainClient
from chain.errors import NodeGarbage
from chain.fee_models import DataFee
from chain.fees import quote
from chain.registry import Network
from chain.rpc import JsonRpc
from chain.testing import AnvilProcess

TO = "0x00000000000000000000000000000000000A11cE"
L1_FEE, UPPER, OPERATOR = 31_000_000_000, 47_000_000_000, 1_500
GWEI = 10**9


def _network(url: str = "http://localhost:1", **changes: Any) -> Network:
    plain = Network(
        name="l2", chain_id=31337, rpc_urls=(url,), native_asset="ETH", block_time_ms=2000,
        confirmations=8, finality="depth", logs_window=1000, min_tip_wei=0,
        max_fee_wei=500 * GWEI, bump_percent=15,
    )  # fmt: skip
    return replace(plain, **changes)


def _oracle(answers: dict[bytes, int]) -> str:
    """Code that answers a number to each selector and reverts to all others."""
    cases = b""
    bodies = b""
    table = 6 + 11 * len(answers) + 5
    for selector, value in answers.items():
        target = table + len(bodies)
        cases += b"\x80\x63" + selector + b"\x14\x61" + target.to_bytes(2, "big") + b"\x57"
        bodies += b"\x5b\x7f" + value.to_bytes(32, "big") + bytes.fromhex("60005260206000f3")
    start = bytes.fromhex("60003560e01c")  # the selector on the stack
    return "0x" + (start + cases + bytes.fromhex("60006000fd") + bodies).hex()


ISTHMUS = {
    fee_models.GET_L1_FEE: L1_FEE,
    fee_models.GET_UPPER_BOUND: UPPER,
    fee_models.GET_OPERATOR_FEE: OPERATOR,
}


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (ISTHMUS, DataFee(L1_FEE + OPERATOR, 2 * (UPPER + OPERATOR))),
        (
            {k: v for k, v in ISTHMUS.items() if k != fee_models.GET_OPERATOR_FEE},
            DataFee(L1_FEE, 2 * UPPER),
        ),
    ],
)
async def test_op_asks_the_oracle(
    anvil: AnvilProcess, answers: dict[bytes, int], expected: DataFee
) -> None:
    rpc = JsonRpc(anvil.url)
    chain = ChainClient(_network(anvil.url, fee_model="op"), rpc)
    fields = fee_models.sample(
        chain.network, asset="ETH", to=TO, amount_minor=1, gas=21_000, cap=GWEI
    )
    try:
        await rpc.call("anvil_setCode", (fee_models.ORACLE, "0x"))
        with pytest.raises(NodeGarbage):  # a chain without the oracle is no OP chain
            await fee_models.data_fee(chain, fields)
        await rpc.call("anvil_setCode", (fee_models.ORACLE, _oracle(answers)))
        assert await fee_models.data_fee(chain, fields) == expected
        dear = {**answers, fee_models.GET_UPPER_BOUND: fee_models.MAX_DATA_FEE_WEI}
        await rpc.call("anvil_setCode", (fee_models.ORACLE, _oracle(dear)))
        with pytest.raises(NodeGarbage):
            await fee_models.data_fee(chain, fields)
    finally:
        await rpc.aclose()


async def test_other_models_ask_nothing() -> None:
    chain = ChainClient(_network(), JsonRpc("http://localhost:1"))  # nobody listens
    fields = fee_models.sample(
        chain.network, asset="ETH", to=TO, amount_minor=1, gas=21_000, cap=GWEI
    )
    assert await fee_models.data_fee(chain, fields) == fee_models.NONE


def test_arbitrum_has_no_constant_gas() -> None:
    assert fee_models.gas_limit(21_000) == fee_models.gas_limit(21_000, "op") == 21_000
    assert fee_models.gas_limit(21_000, "arbitrum") == 31_500
    assert fee_models.gas_limit(80_001) == 100_002
    assert fee_models.gas_limit(13_000_000) == 16_000_000  # more is never signed


def test_arbitrum_needs_no_tip() -> None:
    history = {"baseFeePerGas": [hex(10**7)] * 11, "reward": [["0x0"]] * 10}
    found = quote(history, min_tip_wei=0, max_fee_wei=500 * GWEI)
    assert (found.tip, found.cap) == (0, 2 * 10**7)


def _receipt(**more: object) -> dict[str, object]:
    return {
        "transactionHash": "0x" + "11" * 32, "blockHash": "0x" + "22" * 32, "blockNumber": "0x5",
        "transactionIndex": "0x0", "status": "0x1", "gasUsed": hex(50_000),
        "effectiveGasPrice": hex(1000), "contractAddress": None, "logs": [], **more,
    }  # fmt: skip


def test_receipts_name_what_an_op_chain_took() -> None:
    assert parse_receipt(_receipt()).fee_wei == 50_000_000
    assert parse_receipt(_receipt(l1Fee=hex(777))).fee_wei == 50_000_777
    isthmus = _receipt(l1Fee=hex(777), operatorFeeScalar=hex(2_000_000), operatorFeeConstant="0x3")
    assert parse_receipt(isthmus).data_fee_wei == 777 + 100_000 + 3
    with pytest.raises(NodeGarbage):
        parse_receipt(_receipt(l1Fee="-0x1"))


def test_an_impossible_fee_is_not_believed() -> None:
    plain, op = parse_receipt(_receipt()), parse_receipt(_receipt(l1Fee=hex(777)))
    dear = parse_receipt(_receipt(l1Fee=hex(fee_models.MAX_DATA_FEE_WEI + 1)))
    enough: dict[str, int] = {"gas_limit": 50_000, "cap_wei": 1000}
    assert fee_models.believable(plain, "l1", **enough)
    assert not fee_models.believable(plain, "l1", gas_limit=50_000, cap_wei=999)
    assert fee_models.believable(op, "op", **enough)
    assert not fee_models.believable(op, "l1", **enough)  # no such fee there
    assert not fee_models.believable(dear, "op", **enough)

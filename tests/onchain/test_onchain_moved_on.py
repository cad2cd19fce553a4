"""Out of review: a recipient who passes tokens on in the same block has had them all the same."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from eth_account import Account

from chain.address import checked
from chain.client import ChainClient
from chain.registry import Token
from chain.testing import FakeNode
from chain.testing.fake_node import FAUCET
from chain.transactions import transfer_data
from tests.chain.benches import local_network
from wallet.onchain.desk import Desk
from wallet.onchain.repository import Intent
from wallet.onchain.review import _judged
from wallet.onchain.states import State

GWEI = 10**9
TOKEN = "0x" + "c" * 40
OUTSIDE = checked("0x00000000000000000000000000000000000A11cE")
BOBS_KEY = "0x" + "11" * 32
PAID = 400 * 10**6


def _intent(to: str) -> Intent:
    return Intent(
        id="int_1", purpose="withdrawal", ref="wdr_1", network="local", asset="USDC",
        to_address=to, amount_minor=PAID, gas_limit=100_000, fee_ceiling_wei=100 * GWEI,
        state=State.IN_REVIEW, reason="foreign_transaction", waiting_for=None,
        from_address=checked(FAUCET), nonce=0, mined_tx_hash=None, mined_kind=None,
        mined_block=None, mined_block_hash=None, mined_status=None, gas_used=None,
        gas_fee_wei=None, passed_at_block=0, cancel_requested_at=None, speed_up_requested_at=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("code", "state"),
    [("", State.FINAL_OK), ("0x600160005260206000f3", State.FINAL_REVERTED)],
    ids=["paid and passed on", "says true and pays nobody"],
)
async def test_a_balance_that_stood_still_is_not_enough(code: str, state: State) -> None:
    node, bob = FakeNode(), Account.from_key(BOBS_KEY)
    contract = node.add_token(TOKEN, owner=FAUCET, supply=10**12)
    node.fund(bob.address, 10**18)
    chain = ChainClient(replace(local_network(), tokens=(Token("USDC", contract, 6),)), node.rpc)
    await node.rpc.call("anvil_mine", (hex(1),))
    if code:
        await node.rpc.call("anvil_setCode", (contract, code))
    await node.rpc.call("evm_setAutomine", (False,))
    pays = {
        "from": FAUCET, "to": contract,
        "data": "0x" + transfer_data(to=bob.address, amount_minor=PAID).hex(),
    }  # fmt: skip
    await node.rpc.call("eth_sendTransaction", (pays,))
    passed_on = Account.sign_transaction(
        {
            "type": 2, "chainId": 31337, "nonce": 0, "value": 0, "gas": 100_000,
            "to": bytes.fromhex(contract[2:]),
            "data": transfer_data(to=OUTSIDE, amount_minor=PAID),
            "maxFeePerGas": 100 * GWEI, "maxPriorityFeePerGas": 2 * GWEI,
        },
        BOBS_KEY,
    )  # fmt: skip
    raw = "0x" + bytes(passed_on.raw_transaction).hex()
    await node.rpc.call("eth_sendRawTransaction", (raw,))
    await node.rpc.call("anvil_mine", (hex(1),))
    block = await chain.full_block(2)
    assert block is not None and len(block.transactions) == 2
    receipt = (await chain.block_receipts(block))[0]
    desk: Any = SimpleNamespace(chain=chain)
    to, changes, _ = await _judged(cast(Desk, desk), _intent(bob.address), "pay", receipt)
    assert (to, receipt.status) == (state, 1), changes

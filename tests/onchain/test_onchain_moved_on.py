"""Out of review: a recipient who passes tokens on in the same block has had them all the same.

Also where the node left the payment's log out of its receipt, or the payment was one of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from eth_account import Account

from chain.address import checked
from chain.blocks import Block, Receipt
from chain.client import ChainClient
from chain.registry import Token
from chain.testing import AnvilProcess, FakeNode
from chain.testing.fake_node import FAUCET
from chain.transactions import transfer_data
from tests.chain.benches import local_network
from wallet.db import Database
from wallet.errors import InvalidState
from wallet.onchain.desk import Desk
from wallet.onchain.repository import Intent
from wallet.onchain.review import _judged, resolve
from wallet.onchain.states import State
from wallet.testing.seam import Seam

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


async def _passed_on(code: str = "") -> tuple[ChainClient, Block, Receipt, str]:
    """A block in which the house pays bob tokens, and bob passes them on. `code`: the token's."""
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
    await node.rpc.call("eth_sendRawTransaction", (_passing_on(contract),))
    await node.rpc.call("anvil_mine", (hex(1),))
    block = await chain.full_block(2)
    assert block is not None and len(block.transactions) == 2
    return chain, block, (await chain.block_receipts(block))[0], bob.address


def _passing_on(contract: str, *, cap: int = 100 * GWEI) -> str:
    """Bob's own transaction, which pays less for its place in the block."""
    signed = Account.sign_transaction(
        {
            "type": 2, "chainId": 31337, "nonce": 0, "value": 0, "gas": 100_000,
            "to": bytes.fromhex(contract[2:]),
            "data": transfer_data(to=OUTSIDE, amount_minor=PAID),
            "maxFeePerGas": cap, "maxPriorityFeePerGas": 10**6,
        },
        BOBS_KEY,
    )  # fmt: skip
    return "0x" + bytes(signed.raw_transaction).hex()


def _desk(chain: ChainClient) -> Desk:
    desk: Any = SimpleNamespace(chain=chain)
    return cast(Desk, desk)


@pytest.mark.parametrize(
    ("code", "state"),
    [("", State.FINAL_OK), ("0x600160005260206000f3", State.FINAL_REVERTED)],
    ids=["paid and passed on", "says true and pays nobody"],
)
async def test_a_balance_that_stood_still_is_not_enough(code: str, state: State) -> None:
    chain, _, receipt, bob = await _passed_on(code)
    to, changes, _ = await _judged(_desk(chain), _intent(bob), "pay", receipt)
    assert (to, receipt.status) == (state, 1), changes


async def test_a_receipt_without_its_log_gives_nothing_back() -> None:
    """Some nodes leave logs out under a correct block: the block's receipts have them."""
    chain, _, receipt, bob = await _passed_on()
    bare = receipt._replace(logs=())
    to, changes, _ = await _judged(_desk(chain), _intent(bob), "pay", bare)
    assert to is State.FINAL_OK, changes


async def test_logs_that_do_not_add_up_to_the_block_prove_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chain, block, _, bob = await _passed_on()
    told = await chain.block_receipts(block)
    bare = [told[0]._replace(logs=()), *told[1:]]

    async def left_out(_: Block) -> list[Receipt]:
        return bare

    monkeypatch.setattr(chain, "block_receipts", left_out)
    with pytest.raises(InvalidState, match="another one"):
        await _judged(_desk(chain), _intent(bob), "pay", bare[0])


async def test_a_token_that_kept_a_fee_gives_nothing_back() -> None:
    """Its recipient had something, and passed it on: the payer's balance says so."""
    chain, _, receipt, bob = await _passed_on()
    asked = replace(_intent(bob), amount_minor=PAID + 1)  # what was promised; a unit never came
    with pytest.raises(InvalidState, match="neither way"):
        await _judged(_desk(chain), asked, "pay", receipt)


async def test_a_member_of_a_batch_that_was_passed_on_is_settled(
    db: Database, anvil: AnvilProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node left the batch's logs out when it was final, so its members went to review."""
    seam = await Seam.open(db, anvil.url, tmp_path / "signer", batches=True)
    try:
        await seam.fund_house()
        ada = await seam.funded_person(eth="10", usdc="5000")
        for _ in range(4):  # the first backlog makes the allowance
            await seam.withdraw(ada, "1", "USDC", OUTSIDE)
        await seam.finish()
        bob, contract = Account.from_key(BOBS_KEY).address, seam.network.tokens[0].contract
        await seam.node("anvil_setBalance", bob, hex(10**18))
        await seam.automine(False)
        made = [await seam.withdraw(ada, "400", "USDC", bob)]
        made += [await seam.withdraw(ada, "1", "USDC", OUTSIDE) for _ in range(6)]
        await seam.pass_once()
        cap = (await seam.chain.fees()).base_fee + 10**6  # below the batch, which goes first
        await seam.node("eth_sendRawTransaction", _passing_on(contract, cap=cap))
        await seam.dev.mine(1)
        await seam.automine(True)
        whole = seam.chain.receipts

        async def without_logs(hashes: Sequence[str]) -> list[Receipt | None]:
            return [one and one._replace(logs=()) for one in await whole(hashes)]

        with monkeypatch.context() as node:
            node.setattr(seam.chain, "receipts", without_logs)
            await seam.finish()
        assert await seam.on_chain(bob, "USDC") == 0
        for one in made:
            assert (await seam.withdrawal(ada, one.id)).status == "in_review"
            [row] = await seam.rows("SELECT intent_id FROM withdrawals WHERE id = :id", id=one.id)
            await resolve(seam.runner._desk, row.intent_id, by="bea")
            assert (await seam.withdrawal(ada, one.id)).status == "settled"
        assert await seam.differences() == []
    finally:
        await seam.close()

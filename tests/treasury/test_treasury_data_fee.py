"""On chains of the OP stack a payment costs more than its gas: nodes refuse one that leaves no
coins for L1's part. Whoever empties an address there has to leave that much."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from chain.address import checked
from chain.fee_models import GET_L1_FEE, GET_OPERATOR_FEE, GET_UPPER_BOUND, ORACLE, beside_gas
from chain.outcomes import SendKind, SendOutcome
from chain.testing.fake_node import FakeNode
from chain.transactions import decode_signed
from wallet.db import Database
from wallet.onchain import ChainUnavailable
from wallet.testing.seam import Seam

COLD = checked("0x00000000000000000000000000000000c01d0001")
TAKEN = 10**12
"""What a node wants to see there for L1, in wei."""
ANSWERS = {GET_L1_FEE: TAKEN, GET_UPPER_BOUND: 3 * TAKEN, GET_OPERATOR_FEE: 0}
BOUND = 6 * TAKEN


@pytest.fixture
async def seam(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Seam]:
    """A node that refuses as one of the OP stack does, and knows its fee oracle."""
    node = FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", cold=COLD, confirmations=2,
        transport=node.transport,
    )  # fmt: skip
    seam.network = replace(seam.network, fee_model="op")
    seam.restart_worker()
    ask, hand_over = seam.chain.eth_call, seam.chain.send_raw

    async def eth_call(to: str, data: bytes) -> bytes:
        return ANSWERS[data[:4]].to_bytes(32, "big") if to == ORACLE else await ask(to, data)

    async def send_raw(raw: bytes) -> SendOutcome:
        fields, sender = decode_signed(raw)
        needed = fields.value + fields.gas * fields.cap + TAKEN
        if await seam.on_chain(sender, "ETH") < needed:
            words = "insufficient funds for gas * price + value"
            return SendOutcome(SendKind.INSUFFICIENT_FUNDS, words)
        return await hand_over(raw)

    monkeypatch.setattr(seam.chain, "eth_call", eth_call)
    monkeypatch.setattr(seam.chain, "send_raw", send_raw)
    yield seam
    await seam.close()


async def test_an_evacuation_leaves_what_the_data_fee_may_take(seam: Seam) -> None:
    """Without it the last transfer was refused for ever, its nonce given and its bytes fixed: the
    coins stayed where the thief is, and no standby address took over."""
    [address] = await seam.signer.hot_addresses()
    await seam.pay_in(address, "10", "ETH")
    await seam.pay_in(address, "100", "USDC")
    async with seam.operators.transaction() as session:
        await session.execute(
            text("INSERT INTO network_freezes (network, reason, evacuate_to, by_whom)"
                 " VALUES ('local', 'a key is out', :cold, 'ada')"), {"cold": COLD},
        )  # fmt: skip
    for _ in range(8):
        if await seam.rows("SELECT 1 FROM network_freezes WHERE evacuate_to IS NULL"):
            break
        with suppress(ChainUnavailable):  # the node's word is old on a crowded machine
            await seam.treasury.tick()
            await seam.pass_once()
            await seam.mine(seam.network.confirmations)
    [freeze] = await seam.rows("SELECT evacuate_to FROM network_freezes")
    assert freeze.evacuate_to is None
    assert await seam.on_chain(COLD, "USDC") == 100 * 10**6
    assert await seam.on_chain(COLD, "ETH") > 9 * 10**18
    assert 0 < await seam.on_chain(address, "ETH") <= BOUND


async def test_nothing_is_left_where_there_is_no_such_fee(seam: Seam) -> None:
    wanted = {"asset": "ETH", "to": COLD, "gas": 21_000, "cap": 10**9}
    assert await beside_gas(seam.chain, amount_minor=0, **wanted) == BOUND  # type: ignore[arg-type]
    seam.chain.network = replace(seam.network, fee_model="l1")
    assert await beside_gas(seam.chain, amount_minor=0, **wanted) == 0  # type: ignore[arg-type]

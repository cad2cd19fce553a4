"""What changes while one pass of the worker is under way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from chain.address import checked
from chain.blocks import BlockRef, Receipt
from chain.testing.fake_node import FakeNode
from wallet.db import Database
from wallet.onchain.freeze import freeze_network
from wallet.testing.seam import Seam

OUTSIDE = "0x00000000000000000000000000000000000A11cE"
COLD = checked("0x00000000000000000000000000000000c01d0001")


@pytest.fixture
async def seam(db: Database, tmp_path: Path) -> AsyncIterator[Seam]:
    node = FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=2, cold=COLD,
        transport=node.transport,
    )  # fmt: skip
    yield seam
    await seam.close()


@pytest.mark.parametrize("to", [None, COLD])
async def test_a_network_that_is_frozen_meanwhile_gives_customers_no_nonce(
    seam: Seam, monkeypatch: pytest.MonkeyPatch, to: str | None
) -> None:
    """A pass tries out what waits for minutes; an operator has stopped the network by then."""
    await seam.fund_house()
    ada = await seam.funded_person()
    made = [await seam.withdraw(ada, "1", asset, OUTSIDE) for asset in ("ETH", "USDC")]
    real = seam.chain.estimate_gas

    async def estimate(*what: Any) -> int:
        async with seam.operators.transaction() as session:
            await freeze_network(session, "local", reason="a theft", by="ada", to=to)
        return await real(*what)

    with monkeypatch.context() as patched:
        patched.setattr(seam.chain, "estimate_gas", estimate)
        await seam.runner.tick()
    await seam.runner.tick()
    assert [(await seam.withdrawal(ada, one.id)).status for one in made] == ["held", "held"]
    assert await seam.chain.nonce(seam.desk.hot_addresses[0]) == 0


async def test_what_is_mined_meanwhile_leaves_too_little_and_ends_no_other_payment(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its balance is read at the block with which the pass began, and it is tried out at the next
    one: a revert for want of float says nothing of its recipient."""
    [hot] = seam.desk.hot_addresses
    await seam.pay_in(hot, "100", "ETH")
    await seam.pay_in(hot, "100", "USDC")
    ada = await seam.funded_person()
    await seam.automine(False)
    first = await seam.withdraw(ada, "80", "USDC", OUTSIDE)
    await seam.runner.tick()
    second = await seam.withdraw(ada, "40", "USDC", OUTSIDE)
    await seam.runner.tick()
    assert (await seam.withdrawal(ada, second.id)).waiting_for == "liquidity"
    real = seam.chain.head

    async def head() -> BlockRef:
        told = await real()
        if (await seam.withdrawal(ada, first.id)).status == "broadcast":
            await seam.dev.mine(1)
        return told

    monkeypatch.setattr(seam.chain, "head", head)
    await seam.runner.tick()
    assert (await seam.withdrawal(ada, first.id)).status == "mined"
    waits = await seam.withdrawal(ada, second.id)
    assert (waits.status, waits.waiting_for) == ("held", "liquidity")
    await seam.automine(True)
    await seam.pay_in(hot, "100", "USDC")
    await seam.finish()
    assert (await seam.withdrawal(ada, second.id)).status == "settled"


async def test_what_is_booked_is_what_the_final_receipt_says(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that errs once, as the payment is mined, and is contradicted ever after."""
    await seam.fund_house()
    ada = await seam.funded_person()
    made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    await seam.runner.tick()
    [sent] = await seam.rows("SELECT cap_wei, tx_hash FROM chain_attempts")
    real = seam.chain.receipts

    async def receipts(hashes: Any) -> list[Receipt | None]:
        return [
            one and one._replace(effective_gas_price=int(sent.cap_wei))
            for one in await real(hashes)
        ]

    with monkeypatch.context() as patched:
        patched.setattr(seam.chain, "receipts", receipts)
        await seam.runner.tick()
    assert (await seam.withdrawal(ada, made.id)).status == "mined"
    await seam.finish()
    ended = await seam.withdrawal(ada, made.id)
    [receipt] = await seam.chain.receipts([sent.tx_hash])
    assert receipt is not None
    assert (ended.status, ended.fee.minor) == ("settled", receipt.fee_wei)
    assert await seam.differences() == []

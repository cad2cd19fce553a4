"""A crowd of payments that cannot go now hides none that can, for whatever each of them waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from eth_utils.address import to_checksum_address

from chain.errors import NodeGarbage, NodeTimeout, NodeUnavailable
from chain.testing.fake_node import FakeNode
from wallet.db import Database
from wallet.onchain import prepare, queue
from wallet.testing.seam import Seam

OUTSIDE = "0x00000000000000000000000000000000000A11cE"
SLOW = "0x0000000000000000000000000000000000510D0E"


@pytest.fixture
async def seam(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Seam]:
    monkeypatch.setattr(queue, "NEW_LOOK", 2)
    node = FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=2, transport=node.transport
    )
    yield seam
    await seam.close()


async def test_payments_in_a_token_that_hot_lacks_hold_up_no_others(seam: Seam) -> None:
    """Who owns a little of it can queue as many as they like."""
    [hot] = await seam.signer.hot_addresses()
    await seam.pay_in(hot, "100", "ETH")
    mallory, ada = await seam.funded_person(), await seam.funded_person()
    crowd = [await seam.withdraw(mallory, "1", "USDC", OUTSIDE) for _ in range(3)]
    await seam.runner.tick()
    await seam.runner.tick()
    assert {(await seam.withdrawal(mallory, one.id)).waiting_for for one in crowd} >= {"liquidity"}
    paid = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    await seam.finish()
    assert (await seam.withdrawal(ada, paid.id)).status == "settled"
    await seam.pay_in(hot, "100", "USDC")  # and none of them is forgotten meanwhile
    for _ in range(3):
        await seam.finish()
    assert [(await seam.withdrawal(mallory, one.id)).status for one in crowd] == ["settled"] * 3
    assert await seam.on_chain(OUTSIDE, "USDC") == 3 * 10**6


async def test_a_recipient_that_takes_for_ever_to_try_out_stops_nobody_else(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its code may have changed since the payment was made: the node answers no more."""
    await seam.fund_house()
    mallory, ada = await seam.funded_person(), await seam.funded_person()
    slow = await seam.withdraw(mallory, "0.01", "ETH", SLOW)
    paid = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    real = seam.chain.estimate_gas

    async def estimate(from_: str, to: str, value: int, data: bytes, *more: Any) -> int:
        if to == SLOW:
            await asyncio.sleep(1.0)
            raise NodeTimeout("the node did not answer in time")
        return await real(from_, to, value, data, *more)

    with monkeypatch.context() as patched:
        patched.setattr(prepare, "ESTIMATE_SECONDS", 0.1)
        patched.setattr(prepare, "SLOW_AGAIN_SECONDS", 0.0)
        patched.setattr(seam.chain, "estimate_gas", estimate)
        await seam.finish()
        assert (await seam.withdrawal(ada, paid.id)).status == "settled"
        waits = await seam.withdrawal(mallory, slow.id)
        assert (waits.status, waits.waiting_for) == ("held", "chain")
    await seam.runner.tick()
    assert (await seam.withdrawal(mallory, slow.id)).status != "held"


async def test_who_bounds_the_fee_to_what_is_asked_just_now_gets_no_nonce(seam: Seam) -> None:
    """Fees rise in the next block, and all payments of that address would stand behind it."""
    await seam.fund_house()
    mallory, ada = await seam.funded_person(), await seam.funded_person()
    tight = await seam.withdraw(mallory, "0.01", "ETH", OUTSIDE)
    fees = await seam.chain.fees()
    await seam.rows(
        "UPDATE chain_intents SET fee_ceiling_wei = :low WHERE ref = :ref RETURNING id",
        low=fees.base_fee * 9 // 8 + fees.tip, ref=tight.id,
    )  # fmt: skip
    paid = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    await seam.runner.tick()
    waits = await seam.withdrawal(mallory, tight.id)
    assert (waits.status, waits.waiting_for) == ("held", "fees")
    [row] = await seam.rows("SELECT nonce FROM chain_intents WHERE ref = :ref", ref=paid.id)
    assert row.nonce == 0


@pytest.mark.parametrize(("longest", "all_of_it"), [(0.1, 9.0), (9.0, 0.1)])
async def test_a_crowd_of_them_takes_no_more_of_a_pass_than_one(
    seam: Seam, monkeypatch: pytest.MonkeyPatch, longest: float, all_of_it: float
) -> None:
    """64 of them, each tried out for the first time: five minutes in which nothing goes."""
    monkeypatch.setattr(queue, "NEW_LOOK", 64)
    await seam.fund_house()
    mallory, ada = await seam.funded_person(), await seam.funded_person()
    contracts = {f"0x{number:040x}" for number in range(1 << 150, (1 << 150) + 4)}
    for one in sorted(contracts):
        await seam.withdraw(mallory, "0.01", "ETH", str(to_checksum_address(one)))
    paid = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    usdc = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    real, tried = seam.chain.estimate_gas, 0

    async def estimate(from_: str, to: str, value: int, data: bytes, *more: Any) -> int:
        nonlocal tried
        if to.lower() not in contracts:
            return await real(from_, to, value, data, *more)
        tried += 1
        await asyncio.sleep(0.2)
        raise NodeGarbage("more gas than is signed")

    async def has_code(address: str) -> bool:
        return address.lower() in contracts

    monkeypatch.setattr(prepare, "ESTIMATE_SECONDS", longest)
    monkeypatch.setattr(prepare, "TRYING_SECONDS", all_of_it)
    monkeypatch.setattr(seam.chain, "estimate_gas", estimate)
    monkeypatch.setattr(seam.chain, "is_contract", has_code)
    await seam.runner.tick()
    assert tried == 1
    for made in (paid, usdc):
        assert (await seam.withdrawal(ada, made.id)).status == "broadcast"
    for _ in range(3):
        await seam.runner.tick()
    assert tried == 4  # in later passes, one in each


async def test_a_payment_at_which_the_node_breaks_stops_nobody_else(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider answers HTTP 503, or a proxy closes the connection, whenever it is tried out."""
    await seam.fund_house()
    mallory, ada = await seam.funded_person(), await seam.funded_person()
    breaks = await seam.withdraw(mallory, "0.01", "ETH", SLOW)
    paid = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    real = seam.chain.estimate_gas

    async def estimate(from_: str, to: str, value: int, data: bytes, *more: Any) -> int:
        if to == SLOW:
            raise NodeUnavailable("the node answered HTTP 503")
        return await real(from_, to, value, data, *more)

    with monkeypatch.context() as patched:
        patched.setattr(seam.chain, "estimate_gas", estimate)
        await seam.finish()
        assert (await seam.withdrawal(ada, paid.id)).status == "settled"
        assert (await seam.withdrawal(mallory, breaks.id)).status == "held"
    seam.runner._preparer._slow.clear()  # a minute later
    await seam.runner.tick()
    assert (await seam.withdrawal(mallory, breaks.id)).status != "held"

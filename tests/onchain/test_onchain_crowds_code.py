"""Recipients whose code takes long to be tried out keep back no other recipient that has code."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from eth_utils.address import to_checksum_address

from chain.errors import NodeGarbage, NodeUnavailable
from tests.onchain.test_onchain_crowds import seam  # noqa: F401
from wallet.onchain import prepare
from wallet.testing.seam import Seam

SAFE = "0x00000000000000000000000000000000005AFE00"


@pytest.mark.parametrize(("longest", "all_of_it"), [(0.5, 9.0), (9.0, 0.5)])
async def test_what_takes_long_again_and_again_has_its_try_behind_everybody_else(
    seam: Seam,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    longest: float,
    all_of_it: float,
) -> None:
    """It waits, and so was looked at first in each pass: nobody's own contract was ever paid."""
    await seam.fund_house()
    mallory, ada = await seam.funded_person(), await seam.funded_person()
    slow = {f"0x{number:040x}" for number in range(1 << 150, (1 << 150) + 2)}
    for one in sorted(slow):
        await seam.withdraw(mallory, "0.01", "ETH", str(to_checksum_address(one)))
    paid = await seam.withdraw(ada, "1", "ETH", str(to_checksum_address(SAFE)))
    real, tried = seam.chain.estimate_gas, 0

    async def estimate(from_: str, to: str, value: int, data: bytes, *more: Any) -> int:
        nonlocal tried
        if to.lower() not in slow:
            return await real(from_, to, value, data, *more)
        tried += 1
        await asyncio.sleep(0.8)
        raise NodeGarbage("more gas than is signed")

    async def has_code(address: str) -> bool:
        return address.lower() in {*slow, SAFE.lower()}

    monkeypatch.setattr(prepare, "ESTIMATE_SECONDS", longest)
    monkeypatch.setattr(prepare, "TRYING_SECONDS", all_of_it)
    monkeypatch.setattr(prepare, "SLOW_AGAIN_SECONDS", 0.0)  # as if there were a dozen of them
    monkeypatch.setattr(seam.chain, "estimate_gas", estimate)
    monkeypatch.setattr(seam.chain, "is_contract", has_code)
    for _ in range(5):
        await seam.runner.tick()
    assert (await seam.withdrawal(ada, paid.id)).status != "held"
    assert tried >= 2  # nor are they forgotten


async def test_nor_is_what_was_taken_back_remembered_for_ever(
    seam: Seam,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who makes such payments and takes them back again would fill the worker's memory."""
    ada = await seam.funded_person()
    preparer = seam.runner._preparer
    preparer._forget_above = 1
    for back in (True, False):
        made = await seam.withdraw(ada, "5", "USDC", to_checksum_address(SAFE))
        [row] = await seam.rows("SELECT intent_id FROM withdrawals WHERE id = :it", it=made.id)
        preparer._slow[row.intent_id] = 2.0**60
        preparer._long.add(row.intent_id)
        if back:
            await seam.cancel(ada, made.id)
    await seam.runner.tick()
    assert preparer._long == {row.intent_id} == set(preparer._slow)


async def test_a_crowd_that_has_not_had_its_try_yet_hides_nobody(
    seam: Seam,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One of them a pass, and each takes seconds: whoever asked for a payment after a thousand of
    them, which cost nothing and can be taken back, waited for hours."""
    await seam.fund_house()
    mallory, ada = await seam.funded_person(), await seam.funded_person()
    slow = {f"0x{number:040x}" for number in range(1 << 150, (1 << 150) + 8)}
    for one in sorted(slow):
        await seam.withdraw(mallory, "0.01", "ETH", str(to_checksum_address(one)))
    paid = await seam.withdraw(ada, "1", "ETH", str(to_checksum_address("0x" + "a11ce" * 8)))
    real = seam.chain.estimate_gas

    async def estimate(from_: str, to: str, value: int, data: bytes, *more: Any) -> int:
        if to.lower() in slow:
            await asyncio.sleep(9.0)
        return await real(from_, to, value, data, *more)

    async def has_code(address: str) -> bool:
        return address.lower() in slow

    monkeypatch.setattr(prepare, "ESTIMATE_SECONDS", 0.1)
    monkeypatch.setattr(seam.chain, "estimate_gas", estimate)
    monkeypatch.setattr(seam.chain, "is_contract", has_code)
    for _ in range(5):  # two new ones are looked at in each
        await seam.runner.tick()
    assert (await seam.withdrawal(ada, paid.id)).status != "held"


async def test_a_crowd_at_each_of_which_the_node_breaks_hides_nobody(
    seam: Seam,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A provider answers HTTP 503 to what takes it two seconds: each of them ended a pass, and who
    makes a thousand of them and takes them back pays nothing."""
    await seam.fund_house()
    mallory, ada = await seam.funded_person(), await seam.funded_person()
    breaking = {f"0x{number:040x}" for number in range(1 << 150, (1 << 150) + 8)}
    for one in sorted(breaking):
        await seam.withdraw(mallory, "0.01", "ETH", str(to_checksum_address(one)))
    paid = await seam.withdraw(ada, "1", "ETH", str(to_checksum_address("0x" + "a11ce" * 8)))
    usdc = await seam.withdraw(ada, "1", "USDC", str(to_checksum_address("0x" + "a11ce" * 8)))
    real = seam.chain.estimate_gas

    async def estimate(from_: str, to: str, value: int, data: bytes, *more: Any) -> int:
        if to.lower() in breaking:
            raise NodeUnavailable("the node answered HTTP 503")
        return await real(from_, to, value, data, *more)

    async def has_code(address: str) -> bool:
        return address.lower() in breaking

    monkeypatch.setattr(seam.chain, "estimate_gas", estimate)
    monkeypatch.setattr(seam.chain, "is_contract", has_code)
    for _ in range(5):  # two new ones are looked at in each
        await seam.runner.tick()
    assert (await seam.withdrawal(ada, paid.id)).status != "held"
    assert (await seam.withdrawal(ada, usdc.id)).status != "held"

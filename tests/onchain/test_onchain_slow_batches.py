"""What takes too long to be tried out together is halved, one try in a while: the slow one is
found, and no pass goes into it again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from eth_utils.address import to_checksum_address

from chain.errors import NodeGarbage, NodeUnavailable
from tests.onchain.test_onchain_batches import PAYEES, allowed, purposes, seam  # noqa: F401
from wallet.onchain import batch as batches
from wallet.testing.seam import Seam
from wallet.withdrawals import plan

SLOW = "0x0000000000000000000000000000000000510D0E"
MANY = [str(to_checksum_address(f"0x{n:040x}")) for n in range(1 << 151, (1 << 151) + 12)]


class Tries:
    """What the node was asked about the payout contract: which calls, and how many took long."""

    def __init__(
        self,
        seam: Seam,  # noqa: F811
        monkeypatch: pytest.MonkeyPatch,
        slow: Callable[[bytes], bool],
        error: Exception | None = None,
    ) -> None:
        self.all, self.slow = 0, 0
        real = seam.chain.estimate_gas

        async def estimate(from_: str, to: str, value: int, data: bytes, *more: Any) -> int:
            if to != seam.network.contracts["batch_payout"]:
                return await real(from_, to, value, data, *more)
            self.all += 1
            if slow(data):
                self.slow += 1
                if error is not None:
                    raise error
                await asyncio.sleep(5.0)
            return await real(from_, to, value, data, *more)

        monkeypatch.setattr(seam.chain, "estimate_gas", estimate)


def pays(data: bytes, address: str) -> bool:
    return bytes.fromhex(address[2:]) in data


async def one_look(seam: Seam) -> None:  # noqa: F811
    [hot] = await seam.signer.hot_addresses()
    await seam.runner._batcher.run(hot, head=await seam.chain.head())


def at_once(seam: Seam) -> None:  # noqa: F811
    seam.runner._batcher._doubtful._rest_until = 0.0


@pytest.mark.parametrize(
    "error", [None, NodeUnavailable("the node answered HTTP 503"), NodeGarbage("too much gas")]
)
async def test_a_slow_member_is_found_and_all_others_leave_together(
    seam: Seam,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    error: Exception | None,
) -> None:
    """Every batch with it in was slow, and none was ever made."""
    ada = await allowed(seam)
    slow = await seam.withdraw(ada, "1", "USDC", SLOW)
    for payee in MANY:
        await seam.withdraw(ada, "1", "USDC", payee)
    monkeypatch.setattr(batches, "ESTIMATE_SECONDS", 0.8)
    tries = Tries(seam, monkeypatch, lambda data: pays(data, SLOW), error)
    for _ in range(8):
        before = tries.slow
        await one_look(seam)
        assert tries.slow - before <= 1
        at_once(seam)
    [row] = await seam.rows("SELECT alone, batch_id FROM chain_intents WHERE ref = :r", r=slow.id)
    assert (row.alone, row.batch_id) == (True, None)
    [row] = await seam.rows("SELECT count(*) AS n FROM chain_intents WHERE batch_id IS NOT NULL")
    assert row.n == len(MANY)
    assert tries.slow == 4  # 13, 6, 3 and 1 of them
    await seam.finish()
    await seam.finish()
    assert (await seam.withdrawal(ada, slow.id)).status == "settled"
    assert await seam.differences() == []


async def test_what_takes_long_for_its_number_leaves_in_parts(
    seam: Seam,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ada = await allowed(seam)
    for payee in MANY:
        await seam.withdraw(ada, "1", "USDC", payee)
    monkeypatch.setattr(batches, "ESTIMATE_SECONDS", 0.8)
    tries = Tries(seam, monkeypatch, lambda data: sum(pays(data, one) for one in MANY) > 6)
    for _ in range(3):
        await one_look(seam)
        at_once(seam)
    assert (await purposes(seam))["payout_batch"] == 2
    assert tries.slow == 1 and tries.all == 3
    assert await seam.rows("SELECT FROM chain_intents WHERE alone") == []


async def test_after_one_that_took_long_none_is_tried_for_a_while(
    seam: Seam,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Five seconds of each pass went into it, in which nothing else went on, for ever."""
    ada = await allowed(seam)
    made = [await seam.withdraw(ada, "1", "USDC", payee) for payee in PAYEES]
    monkeypatch.setattr(batches, "ESTIMATE_SECONDS", 0.1)
    tries = Tries(seam, monkeypatch, lambda data: True)
    for _ in range(3):
        await one_look(seam)
    assert tries.all == 1
    await seam.finish()
    assert [(await seam.withdrawal(ada, one.id)).status for one in made] == ["settled"] * 6


async def test_offenders_without_number_are_looked_for_no_longer_than_that(
    seam: Seam,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each try to find out which of a hundred revert is quick, all of them together are not."""
    ada = await allowed(seam)
    for payee in MANY:
        await seam.withdraw(ada, "1", "USDC", payee)
    strange = seam.network.contracts["batch_payout"]
    # Promised before such recipients were refused.
    monkeypatch.setattr(plan, "check_destination", lambda _network, _asset, to: to)
    for _ in range(4):
        await seam.withdraw(ada, "1", "USDC", strange)
    monkeypatch.setattr(batches, "ESTIMATE_SECONDS", 1.0)
    tries = Tries(seam, monkeypatch, lambda data: False)
    real = seam.chain.estimate_gas

    async def late(*given: Any) -> int:
        await asyncio.sleep(0.4)
        return await real(*given)

    monkeypatch.setattr(seam.chain, "estimate_gas", late)
    await one_look(seam)
    assert tries.all <= 3
    for _ in range(20):
        at_once(seam)
        await one_look(seam)
    [row] = await seam.rows("SELECT count(*) AS n FROM chain_intents WHERE batch_id IS NOT NULL")
    assert row.n >= len(MANY) - 4
    alone = await seam.rows("SELECT to_address FROM chain_intents WHERE alone")
    assert [one.to_address for one in alone] == [strange] * 4

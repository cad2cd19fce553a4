"""A payment to code that a node cannot try out ends by itself and is in nobody else's way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chain.errors import NodeGarbage, NodeTimeout, NodeUnavailable
from keys.errors import SignerUnavailable
from tests.selfcustody.own_stage import OUTSIDE, Stage

SLOW = 3 * 10**15


@pytest.fixture
def tried(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What was tried out; a payment of SLOW wei goes to code that takes longer than one waits."""
    asked: list[int] = []
    plain = stage.seam.chain.estimate_gas

    async def estimate(from_: str, to: str, value: int, data: bytes, *more: Any) -> int:
        asked.append(value)
        if value == SLOW:
            await asyncio.sleep(0.5)
            raise NodeTimeout("the node did not answer in time")
        return await plain(from_, to, value, data, *more)

    monkeypatch.setattr(stage.seam.chain, "estimate_gas", estimate)
    monkeypatch.setattr("wallet.selfcustody.worker.ESTIMATE_SECONDS", 0.1)
    return asked


async def test_slow_code_holds_up_its_own_payment_only(stage: Stage, tried: list[int]) -> None:
    """The node was called away, and nothing else of this network was looked at, in every pass."""
    eve, ada = await stage.seam.person(), await stage.seam.person()
    slow = await stage.begin(eve, await stage.imported(eve), "0.003", "ETH")
    made = await stage.begin(ada, await stage.imported(ada), "1", "ETH")
    await stage.finish()
    assert (await stage.send(ada, made.id)).state == "settled"
    ended = await stage.send(eve, slow.id)
    assert (ended.state, ended.reason, ended.tx_hash) == ("failed", "would_revert", None)
    assert tried.count(SLOW) == 1
    assert await stage.seam.on_chain(OUTSIDE, "ETH") == 10**18


async def test_one_person_has_one_slow_payment_tried_in_a_pass(
    stage: Stage, tried: list[int]
) -> None:
    eve, chains = await stage.seam.person(), stage.worker._chains
    stage.worker._chains = {}  # nothing is moved yet
    for index in (3, 4):
        await stage.begin(eve, await stage.imported(eve, index), "0.003", "ETH")
    for _ in range(2):  # one box of hers in a pass
        await stage.worker.tick()
    stage.worker._chains = chains
    looks = []
    for _ in range(3):
        await stage.worker.tick()
        looks.append(tried.count(SLOW))
    assert looks == [1, 2, 2]


async def test_code_that_needs_more_gas_than_is_signed_ends(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was tried out in every pass, for ever, and its account could not pay meanwhile."""

    async def estimate(*_: Any) -> int:
        raise NodeGarbage("eth_estimateGas answered gas outside 21,000 and 16,000,000")

    ada = await stage.seam.person()
    made = await stage.begin(ada, await stage.imported(ada), "1", "ETH")
    monkeypatch.setattr(stage.seam.chain, "estimate_gas", estimate)
    await stage.finish()
    ended = await stage.send(ada, made.id)
    assert (ended.state, ended.reason, ended.tx_hash) == ("failed", "would_revert", None)


async def test_a_payment_at_which_the_node_breaks_keeps_back_nobody_elses(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider answers HTTP 503 whenever it is tried out: in each pass its node counted as away,
    and nothing of anybody's behind it was sent or followed."""
    eve, ada = await stage.seam.person(), await stage.seam.person()
    real = stage.seam.chain.estimate_gas

    async def estimate(from_: str, to: str, value: int, data: bytes, *more: Any) -> int:
        if value == SLOW:
            raise NodeUnavailable("the node answered HTTP 503")
        return await real(from_, to, value, data, *more)

    monkeypatch.setattr(stage.seam.chain, "estimate_gas", estimate)
    breaks = await stage.begin(eve, await stage.imported(eve), "0.003", "ETH")
    made = await stage.begin(ada, await stage.imported(ada), "1", "ETH")
    await stage.finish()
    assert (await stage.send(ada, made.id)).state == "settled"
    assert (await stage.send(eve, breaks.id)).state == "queued"


async def grant_ends(stage: Stage, send_id: str) -> None:
    await stage.seam.rows(
        "UPDATE selfcustody_sends SET updated_at = updated_at - interval '121 s'"
        " WHERE id = :id RETURNING id", id=send_id,
    )  # fmt: skip


@pytest.mark.parametrize("breaks_at", ["estimate_gas", "nonce", "verify_identity"])
async def test_where_the_node_breaks_for_good_it_ends_with_its_grant(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, breaks_at: str
) -> None:
    """It was tried for ever, and its owner could pay nothing else from that account."""
    ada = await stage.seam.person()
    account = await stage.imported(ada)
    made = await stage.begin(ada, account, "1", "ETH")

    async def breaks(*_: Any) -> None:
        raise NodeUnavailable("the node answered HTTP 503")

    with monkeypatch.context() as patched:
        patched.setattr(stage.seam.chain, breaks_at, breaks)
        await stage.worker.tick()
        assert (await stage.send(ada, made.id)).state == "queued"
        await grant_ends(stage, made.id)
        await stage.worker.tick()
    ended = await stage.send(ada, made.id)
    assert (ended.state, ended.reason, ended.tx_hash) == ("failed", "grant_expired", None)
    stage.restart()
    again = await stage.begin(ada, account, "1", "ETH")
    await stage.finish()
    assert (await stage.send(ada, again.id)).state == "settled"
    assert await stage.seam.on_chain(OUTSIDE, "ETH") == 10**18


async def test_while_the_signer_is_away_nobody_says_that_nothing_was_signed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await stage.seam.person()
    made = await stage.begin(ada, await stage.imported(ada), "1", "ETH")

    async def away(*_: Any) -> None:
        raise SignerUnavailable("away")

    async def breaks(*_: Any) -> None:
        raise NodeUnavailable("the node answered HTTP 503")

    monkeypatch.setattr(stage.seam.chain, "estimate_gas", breaks)
    await stage.worker.tick()
    await grant_ends(stage, made.id)
    with monkeypatch.context() as patched:
        patched.setattr(stage.relay, "signed_before", away)
        await stage.worker.tick()
        assert (await stage.send(ada, made.id)).state == "queued"
    await stage.worker.tick()
    assert (await stage.send(ada, made.id)).state == "failed"

"""Ganache's trap on a seam: nonce 0 is used up by a payment of nothing, once, whoever dies."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from chain.client import ChainClient
from chain.outcomes import SendOutcome
from wallet import crashpoints
from wallet.onchain import runner
from wallet.testing.seam import Seam

OUTSIDE = "0x00000000000000000000000000000000000A11cE"
POINTS = (
    "burn.before_commit", "burn.after_commit", "burn.before_commit_booked",
    "burn.after_commit_booked",
)  # fmt: skip
PASSES = 40


class Death(BaseException):
    """The worker ends here."""


@pytest.mark.crash
async def test_a_death_while_nonce_zero_is_used_up_burns_it_once(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A death at each point, then a new worker: one burn, one entry, and the payment at nonce 1."""
    monkeypatch.setattr(runner, "must_burn", lambda _version: True)
    ada = await seam.funded_person()
    made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    left = set(POINTS)

    def die(name: str) -> None:
        if name in left:
            left.remove(name)
            raise Death(name)

    crashpoints.install(die)
    try:
        for _ in range(PASSES):
            try:
                await seam.mine()
            except Death:
                seam.restart_worker()
            if (await seam.withdrawal(ada, made.id)).status == "settled":
                break
    finally:
        crashpoints.install(None)
    assert left == set(), "the test did not die there"
    assert (await seam.withdrawal(ada, made.id)).status == "settled"
    [burn] = await seam.rows("SELECT address, entry_id FROM nonce_burns")
    entries = await seam.rows("SELECT id FROM entries WHERE kind = 'nonce_burn'")
    assert [entry.id for entry in entries] == [burn.entry_id]
    assert [row.nonce for row in await seam.rows("SELECT nonce FROM chain_intents")] == [1]
    assert await seam.chain.nonce(burn.address) == 2
    assert await seam.on_chain(OUTSIDE, "ETH") == 10**18
    assert await seam.differences() == []


async def test_a_node_that_is_slow_to_say_so_is_not_sent_it_a_second_time_at_once(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time the bytes arrive they are run there, and only the first run's gas is booked."""
    monkeypatch.setattr(runner, "must_burn", lambda _version: True)
    sent: list[bytes] = []
    real = ChainClient.send_raw

    async def counted(self: ChainClient, raw: bytes) -> SendOutcome:
        sent.append(raw)
        return await real(self, raw)

    monkeypatch.setattr(ChainClient, "send_raw", counted)
    ada = await seam.funded_person()
    await seam.automine(False)  # taken, and neither receipt nor nonce shows it yet
    await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    for _ in range(4):
        await seam.pass_once()
    assert len(sent) == 1
    for _ in range(2):
        await seam.rows(
            "UPDATE nonce_burns SET sent_at = sent_at - interval '121 seconds' RETURNING address"
        )
        await seam.pass_once()
        assert len(sent) == 1  # no block has come yet, but the node has it
    await seam.node("anvil_dropAllTransactions")
    await seam.pass_once()
    assert sent == [sent[0]] * 2  # lost on its way, or forgotten: the same bytes


async def test_passes_side_by_side_send_it_once(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's loop and the job of a payment that was just promised look at the same moment."""
    monkeypatch.setattr(runner, "must_burn", lambda _version: True)
    sent: list[bytes] = []
    real, known = ChainClient.send_raw, ChainClient.known
    both = asyncio.Barrier(2)

    async def counted(self: ChainClient, raw: bytes) -> SendOutcome:
        sent.append(raw)
        return await real(self, raw)

    async def together(self: ChainClient, hashes: Sequence[str]) -> list[bool]:
        answer = await known(self, hashes)
        await both.wait()
        return answer

    ada = await seam.funded_person()
    await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    await seam.automine(False)
    await seam.runner.tick()  # the bytes are stored
    with monkeypatch.context() as patched:
        patched.setattr(ChainClient, "send_raw", counted)
        patched.setattr(ChainClient, "known", together)
        await asyncio.gather(seam.runner.tick(), seam.new_runner().tick())
    assert len(sent) == 1

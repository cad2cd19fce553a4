"""Ganache's trap on a seam: nonce 0 is used up by a payment of nothing, once, whoever dies."""

from __future__ import annotations

import pytest

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

"""A listed token that answers nothing any more, or burns gas, costs the house nothing else."""

from __future__ import annotations

import pytest

from tests.sweeps.test_sweeps_wallet import Kind, Open, opened, person_with, sweep

__all__ = ["opened"]
REVERTS = "0x60006000fd"


@pytest.mark.parametrize("kind", ["prefund", "create2"])
async def test_coins_leave_though_a_token_reverts_whatever_it_is_asked(
    opened: Open, kind: Kind
) -> None:
    seam = await opened(kind)
    await person_with(seam, usdc="1000")
    _, with_coins = await person_with(seam, eth="5")
    await seam.node("anvil_setCode", seam.network.tokens[0].contract, REVERTS)
    await sweep(seam)
    assert await seam.on_chain(with_coins, "ETH") < 10**16
    rows = await seam.rows("SELECT address, minor FROM deposit_moves WHERE asset = 'ETH'")
    assert [row.address for row in rows] == [with_coins]


async def test_a_token_that_burns_gas_is_not_swept_for_less_than_that(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its transfer takes is its author's word: some 10,000,000 gas for a few dollars."""
    seam = await opened("prefund")
    await person_with(seam, usdc="20")
    honest = seam.chain.estimate_gas

    async def estimate(from_: str, to: str, value: int, data: bytes) -> int:
        gas = await honest(from_, to, value, data)
        return 10_000_000 if to == seam.network.tokens[0].contract else gas

    monkeypatch.setattr(seam.chain, "estimate_gas", estimate)
    await sweep(seam)
    assert await seam.rows("SELECT 1 FROM sweeps") == []
    monkeypatch.undo()
    await sweep(seam)
    assert [row.kind for row in await seam.rows("SELECT kind FROM sweeps")] == ["top_up"]

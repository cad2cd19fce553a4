"""A listed token that answers nothing any more keeps nothing else where it is."""

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

"""In and out again, to the wei."""

from __future__ import annotations

from wallet.testing.seam import Seam

OUTSIDE = "0x00000000000000000000000000000000000A11cE"


async def test_deposit_and_withdrawal_round_trip(seam: Seam) -> None:
    ada = await seam.funded_person(eth="10", usdc="1000")
    assert (await seam.balance(ada, "ETH")).total_minor == 10 * 10**18
    assert (await seam.balance(ada, "USDC")).total_minor == 1000 * 10**6

    coins = await seam.withdraw(ada, "0.5", "ETH", OUTSIDE)
    tokens = await seam.withdraw(ada, "20", "USDC", OUTSIDE)
    assert coins.status == tokens.status == "held"
    held = (await seam.balance(ada, "ETH")).held_minor
    assert held == coins.money.minor + coins.fee_max.minor
    await seam.tasks.submit(coins.id)
    await seam.pass_once()
    assert (await seam.withdrawal(ada, coins.id)).status == "mined"
    await seam.finish()

    coins = await seam.withdrawal(ada, coins.id)
    tokens = await seam.withdrawal(ada, tokens.id)
    assert coins.status == tokens.status == "settled"
    assert await seam.on_chain(OUTSIDE, "ETH") == 5 * 10**17
    assert await seam.on_chain(OUTSIDE, "USDC") == 20 * 10**6
    assert 0 < coins.fee.minor <= coins.fee_max.minor
    left = await seam.balance(ada, "ETH")
    assert (left.total_minor, left.held_minor) == (95 * 10**17 - coins.fee.minor, 0)
    left = await seam.balance(ada, "USDC")
    assert (left.total_minor, left.held_minor) == (980 * 10**6 - tokens.fee.minor, 0)
    for asset in ("ETH", "USDC"):
        [hot] = await seam.signer.hot_addresses()
        assert await seam.booked(asset, "hot") == await seam.on_chain(hot, asset)

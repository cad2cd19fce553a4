"""A node that takes a question and never answers it costs a pass one wait, and no deposit."""

from __future__ import annotations

import time

from chain.client import ChainClient
from chain.rpc import JsonRpc
from chain.testing import FaultProxy
from wallet.deposits import Scanner
from wallet.testing.seam import Seam

TIMEOUT_SECONDS = 1.0
ARRIVALS = 8
DEEP = 20


async def test_a_range_whose_balances_hang_is_waited_for_once(seam: Seam) -> None:
    ada = await seam.person()
    address = await seam.address(ada)
    await seam.mine()
    for _ in range(ARRIVALS):
        await seam.pay_in(address, "1", "USDC")
    await seam.dev.mine(DEEP)
    async with FaultProxy(seam.url) as proxy:
        rpc = JsonRpc(proxy.url, timeout_seconds=TIMEOUT_SECONDS)
        seam.opened.append(rpc)
        seam.chain = ChainClient(seam.network, rpc)
        seam.scanner = Scanner(seam.db, seam.chain, seam.assets)
        proxy.fault, proxy.methods = "hang", {"eth_call"}
        began = time.monotonic()
        await seam.scanner.tick()
        taken = time.monotonic() - began
        assert proxy.seen["eth_call"] == 2 * ARRIVALS
        assert TIMEOUT_SECONDS <= taken < 3 * TIMEOUT_SECONDS
        proxy.fault = "none"
        await seam.finish()
        assert (await seam.balance(ada, "USDC")).total_minor == ARRIVALS * 10**6

"""What a withdrawal would cost is asked of a node that all people share."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from chain.rpc import JsonRpc
from wallet import turns
from wallet.errors import Busy, WalletError
from wallet.testing.seam import Seam
from wallet.withdrawals import Plan
from wallet.withdrawals import plan as pricing

OUTSIDE = "0x00000000000000000000000000000000000A11cE"
SLOW = "0x0000000000000000000000000000000bad000bad"  # as a contract that takes long to estimate
SLOW_SECONDS, USUAL_SECONDS = 1.0, 0.8


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node takes its time over payments to SLOW."""
    exchange = JsonRpc._exchange

    async def dragging(rpc: JsonRpc, body: bytes, most: int) -> bytes:
        if b"eth_estimateGas" in body:
            slow = SLOW.encode() in body.lower()
            await asyncio.sleep(SLOW_SECONDS if slow else USUAL_SECONDS)
        return await exchange(rpc, body, most)

    monkeypatch.setattr(JsonRpc, "_exchange", dragging)


async def _price(seam: Seam, principal_id: str, to: str) -> Plan:
    return await seam.planner.plan(
        network="local", money=seam.money("1", "ETH"), to_address=to, principal_id=principal_id
    )


@pytest.mark.usefixtures("slow")
async def test_one_person_with_slow_contracts_is_in_nobody_elses_way(seam: Seam) -> None:
    """They filled every turn at the node, and everybody else was told that it does not answer."""
    await seam.fund_house()
    mallory, ada = await seam.person(), await seam.person()

    async def hammer() -> None:
        while True:
            with contextlib.suppress(WalletError):
                await _price(seam, mallory, SLOW)

    crowd = [asyncio.create_task(hammer()) for _ in range(60)]
    await asyncio.sleep(pricing.NODE_TIMEOUT_SECONDS + 1)  # by now all turns are taken, always
    assert (await _price(seam, ada, OUTSIDE)).to_address == OUTSIDE
    for one in crowd:
        one.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)
    assert (await _price(seam, mallory, OUTSIDE)).to_address == OUTSIDE  # their turns are back


@pytest.mark.usefixtures("slow")
async def test_who_asks_too_much_at_once_is_told_so(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", SLOW_SECONDS / 4)
    await seam.fund_house()
    ada = await seam.person()
    told: list[Any] = await asyncio.gather(
        *(_price(seam, ada, SLOW) for _ in range(6)), return_exceptions=True
    )
    assert sum(isinstance(one, Plan) for one in told) == pricing.ONE_PERSON_ASKS
    assert sum(isinstance(one, Busy) for one in told) == 6 - pricing.ONE_PERSON_ASKS

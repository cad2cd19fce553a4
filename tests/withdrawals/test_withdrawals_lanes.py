"""Several hot addresses, of which the first alone does not hold what somebody sends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chain.errors import NodeRejected
from chain.testing.fake_node import FakeNode
from wallet.db import Database
from wallet.errors import ChainUnavailable
from wallet.testing.seam import Seam

OUTSIDE = "0x00000000000000000000000000005EED00000077"


@pytest.fixture
async def seam(db: Database, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", hot_keys=2, transport=FakeNode().transport
    )
    yield seam
    await seam.close()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (-32000, "insufficient funds for gas * price + value: address 0x… have 1 want 3"),
        (-32000, "err: insufficient funds for gas * price + value (supplied gas 36000000)"),
        (-32000, "gas required exceeds allowance (0)"),
        (-32003, "Insufficient funds for gas * price + value"),
    ],
)
async def test_coins_that_only_another_address_holds_can_be_sent(
    seam: Seam, monkeypatch: pytest.MonkeyPatch, code: int, said: str
) -> None:
    """A node refuses to try out what the address has not: geth with no word of a revert."""
    first, second = await seam.signer.hot_addresses()
    await seam.pay_in(first, "1", "ETH")
    await seam.pay_in(second, "20", "ETH")
    ada = await seam.funded_person()
    asked, honest = [], seam.chain.estimate_gas

    async def strict(sender: str, to: str, value: int, data: bytes) -> int:
        asked.append(value)
        [held] = await seam.chain.balances([sender], "ETH", (await seam.chain.head()).number)
        if value > held:
            raise NodeRejected(code, said)
        return await honest(sender, to, value, data)

    monkeypatch.setattr(seam.chain, "estimate_gas", strict)
    promised = await seam.withdraw(ada, "3", "ETH", OUTSIDE)
    assert asked[:2] == [3 * 10**18, 0]
    await seam.finish()
    assert (await seam.withdrawal(ada, promised.id)).status == "settled"
    assert await seam.on_chain(OUTSIDE, "ETH") == 3 * 10**18


async def test_what_the_first_holds_is_not_tried_again(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    await seam.fund_house()
    ada = await seam.funded_person()

    async def refuses(*_: object) -> int:
        raise NodeRejected(-32000, "insufficient funds for gas * price + value")

    monkeypatch.setattr(seam.chain, "estimate_gas", refuses)
    with pytest.raises(ChainUnavailable):
        await seam.withdraw(ada, "3", "ETH", OUTSIDE)

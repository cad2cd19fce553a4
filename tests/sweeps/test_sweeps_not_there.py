"""What the books have at an address and the chain does not; what the chain has and no row."""

from __future__ import annotations

from typing import Any

import pytest

from chain.errors import NodeRejected
from tests.onchain.test_onchain_lost_rows import LOSE_BYTES, _lose, _mined
from tests.sweeps.test_sweeps_strangers import coins_come, delegated, opened, person_with
from tests.sweeps.test_sweeps_wallet import Open
from wallet.onchain.review import resolve
from wallet.testing.databases import ScratchDatabase

__all__ = ["opened"]


async def test_a_delegated_address_that_is_empty_is_not_called(opened: Open) -> None:
    """Each call would be the house's gas, once an hour for ever."""
    seam = await opened("eip7702")
    _, address = await delegated(seam)
    await seam.sweeper.tick()
    await seam.finish()  # its tokens are gone: no open sweep stands in the way
    await coins_come(seam, address)
    await seam.node("anvil_setBalance", address, "0x0")
    await seam.sweeper.tick()
    assert await seam.rows("SELECT 1 FROM sweeps WHERE asset = 'ETH'") == []
    await seam.node("anvil_setBalance", address, hex(10**18))
    await seam.sweeper.tick()
    assert len(await seam.rows("SELECT 1 FROM sweeps WHERE asset = 'ETH'")) == 1


async def test_an_own_sweep_whose_bytes_were_lost_is_not_booked_twice(
    opened: Open, database: ScratchDatabase
) -> None:
    """The scanner has booked it as an arrival from an address of ours by then."""
    seam = await opened("eip7702")
    _, address = await person_with(seam, usdc="500")
    await seam.automine(False)
    await seam.sweeper.tick()
    await seam.pass_once()
    _lose(
        database, LOSE_BYTES,
        "UPDATE chain_intents SET state = 'allocated' WHERE state IN ('signed', 'sent')",
    )  # fmt: skip
    await _mined(seam)
    assert await seam.on_chain(address, "USDC") == await seam.booked("USDC", "deposit") == 0
    before = await seam.booked("USDC", "hot")
    [lost] = await seam.rows("SELECT id FROM chain_intents WHERE state = 'in_review'")
    await resolve(seam.runner._desk, lost.id, by="bea")
    assert await seam.booked("USDC", "hot") == before
    [done] = await seam.rows("SELECT state FROM sweeps")
    assert done.state == "done"
    assert await seam.differences() == []


async def test_an_address_without_its_coins_keeps_nobody_elses(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fork took them, say: geth refuses to try out what such an address cannot pay."""
    seam = await opened("prefund")
    _, without = await person_with(seam, eth="5")
    _, address = await person_with(seam, eth="2")
    await seam.node("anvil_setBalance", without, "0x0")
    honest = seam.chain.estimate_gas

    async def estimate(from_: str, *call: Any) -> int:
        if from_ == without:
            raise NodeRejected(-32000, "insufficient funds for transfer")
        return await honest(from_, *call)

    monkeypatch.setattr(seam.chain, "estimate_gas", estimate)
    await seam.sweeper.tick()
    await seam.finish()
    assert await seam.on_chain(address, "ETH") < 10**16


async def test_a_signer_without_any_key_begins_no_sweep(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Web3signer that is still loading its keys lists none; who calls is not known."""
    seam = await opened("create2")
    await person_with(seam, eth="5")
    honest = seam.sweeper._signer.hot_addresses

    async def none() -> list[str]:
        return []

    monkeypatch.setattr(seam.sweeper._signer, "hot_addresses", none)
    await seam.sweeper.tick()
    assert await seam.rows("SELECT 1 FROM sweeps") == []
    monkeypatch.setattr(seam.sweeper._signer, "hot_addresses", honest)
    await seam.sweeper.tick()
    assert len(await seam.rows("SELECT 1 FROM sweeps")) == 1

"""A token that was taken out of the networks file stops its own payments, and nobody else's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from chain.address import checked
from chain.registry import Network
from chain.testing.fake_node import FakeNode
from wallet.db import Database
from wallet.errors import InvalidState
from wallet.onchain import queue
from wallet.onchain.review import resolve
from wallet.testing.seam import Seam

OUTSIDE = checked("0x00000000000000000000000000000000000A11cE")


@pytest.fixture
async def seam(db: Database, tmp_path: Path) -> AsyncIterator[Seam]:
    node = FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=2, transport=node.transport
    )
    await seam.fund_house()
    yield seam
    await seam.close()


def _read(seam: Seam, file: Network) -> None:
    """A worker that has read this networks file."""
    seam.network = file
    seam.restart_worker()


async def test_what_waits_in_it_holds_up_nobody(seam: Seam) -> None:
    ada, file = await seam.funded_person(), seam.network
    first = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    second = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    _read(seam, replace(file, tokens=()))
    await seam.finish()
    assert (await seam.withdrawal(ada, second.id)).status == "settled"
    waits = await seam.withdrawal(ada, first.id)
    assert (waits.status, waits.waiting_for) == ("held", "review")
    _read(seam, file)
    await seam.finish()
    assert (await seam.withdrawal(ada, first.id)).status == "settled"
    assert await seam.on_chain(OUTSIDE, "USDC") == 10**6


async def test_however_many_wait_in_it(seam: Seam, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than are looked at in one pass."""
    monkeypatch.setattr(queue, "NEW_LOOK", 2)
    ada, file = await seam.funded_person(), seam.network
    waiting = [await seam.withdraw(ada, "1", "USDC", OUTSIDE) for _ in range(3)]
    other = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    _read(seam, replace(file, tokens=()))
    await seam.finish()
    assert (await seam.withdrawal(ada, other.id)).status == "settled"
    said = {(await seam.withdrawal(ada, one.id)).waiting_for for one in waiting}
    assert said == {"review"}


async def test_what_was_sent_of_it_is_not_called_paid_unseen(seam: Seam) -> None:
    """Its Transfer is the proof, and nobody can read that while its contract is not known."""
    ada, file = await seam.funded_person(), seam.network
    await seam.automine(False)
    made = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    await seam.pass_once()
    _read(seam, replace(file, tokens=()))
    await seam.automine(True)
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "mined"
    _read(seam, file)
    await seam.pass_once()
    assert (await seam.withdrawal(ada, made.id)).status == "settled"


async def test_its_review_says_that_it_has_to_be_listed(seam: Seam) -> None:
    ada, file = await seam.funded_person(), seam.network
    await seam.automine(False)
    made = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    await seam.pass_once()
    contract = seam.network.tokens[0].contract
    await seam.node("anvil_setCode", contract, "0x600160005260206000f3")
    await seam.automine(True)
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "in_review"
    _read(seam, replace(file, tokens=()))
    await seam.pass_once()
    [row] = await seam.rows("SELECT intent_id FROM withdrawals")
    with pytest.raises(InvalidState, match="not listed"):
        await resolve(seam.runner._desk, row.intent_id, by="bea")

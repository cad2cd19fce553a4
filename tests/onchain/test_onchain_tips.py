"""A payment whose tip is below what others pay, or what its node asks for, is outbid in the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from chain.fees import FeeQuote
from chain.outcomes import SendKind, SendOutcome
from chain.testing.fake_node import FakeNode
from keys.errors import SignerUnavailable
from keys.request import SignedTx
from wallet.db import Database
from wallet.testing.seam import Seam

OUTSIDE = "0x00000000000000000000000000000000000A11cE"


@pytest.fixture
async def seam(db: Database, tmp_path: Path) -> AsyncIterator[Seam]:
    node = FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=2, transport=node.transport
    )
    await seam.fund_house()
    seam.bump_seconds = 0.0
    seam.runner = seam.new_runner()
    yield seam
    await seam.close()


async def kinds(seam: Seam) -> list[str]:
    rows = await seam.rows("SELECT kind FROM chain_attempts ORDER BY seq")
    return [str(row.kind) for row in rows]


async def test_what_tips_less_than_the_others_now(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the base fee is next to nothing the tip is the price: who bids less waits for ever, and
    nobody can speed up a batch or a sweep."""
    ada = await seam.funded_person()
    await seam.automine(False)
    await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    for _ in range(3):
        await seam.runner.tick()
    assert await kinds(seam) == ["pay"]  # it waits for something else
    now = await seam.chain.fees()
    dearer = replace(now, tip=2 * now.tip, cap=now.cap + now.tip)

    async def fees() -> FeeQuote:
        return dearer

    monkeypatch.setattr(seam.chain, "fees", fees)
    await seam.runner.tick()
    assert await kinds(seam) == ["pay", "bump"]


async def test_what_its_node_refuses_for_its_fee(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """geth: `transaction underpriced: gas tip cap 1000000000, minimum needed 1100000000`."""
    ada = await seam.funded_person()
    made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    real, refused = seam.chain.send_raw, set[bytes]()

    async def send_raw(raw: bytes) -> SendOutcome:
        if raw in refused or not refused:
            refused.add(raw)
            return SendOutcome(SendKind.FEE_TOO_LOW, "transaction underpriced")
        return await real(raw)

    monkeypatch.setattr(seam.chain, "send_raw", send_raw)
    for _ in range(4):
        await seam.runner.tick()
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "settled"
    assert await kinds(seam) == ["pay", "bump"]


async def test_what_is_signed_goes_on_being_sent_while_its_bump_waits_for_the_signer(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node was started anew and has forgotten it; the signer is away."""
    ada = await seam.funded_person()
    await seam.automine(False)
    seam.bump_seconds = 60.0
    seam.runner = seam.new_runner()
    made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    await seam.runner.tick()
    await seam.speed_up(ada, made.id)
    [first] = [row.tx_hash for row in await seam.rows("SELECT tx_hash FROM chain_attempts")]

    async def away(**_: object) -> SignedTx:
        raise SignerUnavailable("no answer")

    monkeypatch.setattr(seam.signer, "sign_transaction", away)
    await seam.runner.tick()
    await seam.node("anvil_dropTransaction", first)
    for _ in range(3):
        await seam.runner.tick()
    assert await kinds(seam) == ["pay", "bump"]
    assert await seam.chain.known([first]) == [True]

"""One of several nodes that lies about how many nonces a hot address has used halts nothing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from chain.client import ChainClient
from chain.failover import FailoverRpc
from chain.testing.fake_node import FakeNode
from wallet.db import Database
from wallet.errors import InvalidState
from wallet.onchain import NetworkObserver
from wallet.testing.seam import Seam

OUTSIDE = "0x00000000000000000000000000000000000A11cE"


def _counts(node: FakeNode, told: str) -> None:
    exchange = node.exchange

    async def lying(body: bytes) -> bytes:
        asked: Any = json.loads(body)
        if isinstance(asked, dict) and asked["method"] == "eth_getTransactionCount":
            return json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": told}).encode()
        return await exchange(body)

    node.exchange = lying  # type: ignore[method-assign]


@pytest.mark.parametrize("batches", [False, True])
async def test_a_node_that_counts_too_many_nonces_halts_no_address(
    db: Database, tmp_path: Path, batches: bool
) -> None:
    """Each hot address would wait for an operator, and all customers with it."""
    honest, liar = FakeNode(), FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=4, batches=batches,
        transport=honest.transport,
    )  # fmt: skip
    try:
        await seam.fund_house()
        ada = await seam.funded_person()
        first = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
        await seam.finish()
        assert (await seam.withdrawal(ada, first.id)).status == "settled"
        liar.chain, true = honest.chain, seam.chain
        _counts(liar, "0x9")
        several = FailoverRpc(seam.network, [liar.transport(), honest.transport()])
        seam.chain = ChainClient(seam.network, several)
        seam.observer = NetworkObserver(seam.db, seam.chain, nodes=several)
        seam.runner = seam.new_runner()
        made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
        for _ in range(3):
            await seam.observer.tick()
            await seam.runner.tick()
            honest.chain.mine(2)
        assert await seam.rows("SELECT 1 FROM chain_signers WHERE halted_reason IS NOT NULL") == []
        assert (await seam.withdrawal(ada, made.id)).status == "held"
        async with seam.db.transaction() as session:
            await session.execute(text("UPDATE network_state SET compared_in = 'of another'"))
        await seam.runner.tick()
        with pytest.raises(InvalidState, match="may be paid already"):
            await seam.cancel(ada, made.id)  # who knows which of the two is behind
        seam.chain = true  # the operator has taken the liar out of the file
        seam.observer = NetworkObserver(seam.db, true)
        seam.runner = seam.new_runner()
        await seam.finish()
        assert (await seam.withdrawal(ada, made.id)).status == "settled"
    finally:
        await seam.close()


async def test_nor_does_it_begin_an_address_too_far_ahead(db: Database, tmp_path: Path) -> None:
    """None of its payments would ever be mined."""
    honest, liar = FakeNode(), FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=4,
        transport=honest.transport,
    )  # fmt: skip
    try:
        await seam.fund_house()
        ada = await seam.funded_person()
        liar.chain, true = honest.chain, seam.chain
        _counts(liar, "0x9")
        several = FailoverRpc(seam.network, [liar.transport(), honest.transport()])
        seam.chain = ChainClient(seam.network, several)
        seam.runner = seam.new_runner()
        made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
        await seam.runner.tick()
        seam.chain = true
        seam.runner = seam.new_runner()
        await seam.finish()
        assert (await seam.withdrawal(ada, made.id)).status == "settled"
    finally:
        await seam.close()


async def test_a_pass_beside_another_does_not_take_away_its_doubt(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job of a payment that was just promised has the runner's loop work beside itself."""
    honest, liar = FakeNode(), FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=4, transport=honest.transport
    )
    try:
        await seam.fund_house()
        ada = await seam.funded_person()
        await seam.withdraw(ada, "1", "ETH", OUTSIDE)
        await seam.finish()
        liar.chain = honest.chain
        _counts(liar, "0x9")
        several = FailoverRpc(seam.network, [liar.transport(), honest.transport()])
        seam.chain = ChainClient(seam.network, several)
        seam.observer = NetworkObserver(seam.db, seam.chain, nodes=several)
        seam.runner = seam.new_runner()
        made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
        await seam.observer.tick()
        async with seam.db.transaction() as session:
            await session.execute(text("UPDATE network_state SET compared_in = 'of another'"))
        waits, verify = seam.runner._queued_wait_for, seam.chain.verify_identity
        begun, goes = asyncio.Event(), asyncio.Event()
        beside: list[asyncio.Task[None]] = []

        async def stands() -> Any:
            begun.set()
            await goes.wait()
            return await verify()

        async def told(reason: str) -> None:
            await waits(reason)
            if not beside:
                monkeypatch.setattr(seam.chain, "verify_identity", stands)
                beside.append(asyncio.create_task(seam.runner.tick()))
                await begun.wait()

        monkeypatch.setattr(seam.runner, "_queued_wait_for", told)
        await seam.runner.tick()
        with pytest.raises(InvalidState, match="may be paid already"):
            await seam.cancel(ada, made.id)
        goes.set()
        await asyncio.gather(*beside)
    finally:
        await seam.close()

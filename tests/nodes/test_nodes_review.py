"""One of several nodes that tells of a stranger at our nonce: nothing is given back by its word."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chain.client import ChainClient
from chain.failover import FailoverRpc
from chain.rpc import Rpc
from chain.testing.fake_node import FakeNode
from wallet.db import Database
from wallet.errors import InvalidState
from wallet.onchain import NetworkObserver
from wallet.onchain.regained import regain
from wallet.onchain.review import resolve
from wallet.testing.seam import Seam

OUTSIDE = "0x00000000000000000000000000000000000A11cE"
THIEF = "0x" + "7" * 40
STRANGE = "0x" + "5" * 64


def _hides(node: FakeNode, paid: list[str]) -> None:
    """It has none of these transactions: where they were mined it tells of another one, that pays
    somebody else."""
    exchange = node.exchange

    def bent(asked: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        if asked["method"] in ("eth_getTransactionReceipt", "eth_getTransactionByHash"):
            return answer | {"result": None} if asked["params"][0] in paid else answer
        if asked["method"] not in ("eth_getBlockByNumber", "eth_getBlockReceipts"):
            return answer
        told = json.dumps(answer)
        for one in paid:
            if one in told:
                told = told.replace(one, STRANGE).replace(OUTSIDE.lower(), THIEF)
        bent: dict[str, Any] = json.loads(told)
        return bent

    async def lying(body: bytes) -> bytes:
        asked, answer = json.loads(body), json.loads(await exchange(body))
        if isinstance(asked, dict):
            return json.dumps(bent(asked, answer)).encode()
        by_id = {one["id"]: one for one in asked}
        return json.dumps([bent(by_id[one["id"]], one) for one in answer]).encode()

    node.exchange = lying  # type: ignore[method-assign]


@dataclass(frozen=True)
class Lied:
    """A withdrawal that was paid; `liar` hides that, `several` are this one, which serves, and an
    honest one."""

    seam: Seam
    ada: str
    made: str
    intent: str
    honest: FakeNode
    liar: Rpc
    several: FailoverRpc

    async def passes(self) -> None:
        """Until all of it is final."""
        for _ in range(8):
            await self.seam.observer.tick()
            await self.seam.runner.tick()
            self.honest.chain.mine(2)
        await self.seam.observer.tick()

    def ask(self, rpc: Rpc) -> None:
        """The worker's nodes, and the commands', from now on."""
        nodes = rpc if isinstance(rpc, FailoverRpc) else None
        self.seam.chain = ChainClient(self.seam.network, rpc)
        self.seam.observer = NetworkObserver(self.seam.db, self.seam.chain, nodes=nodes)
        self.seam.runner = self.seam.new_runner()

    async def status(self) -> str:
        return (await self.seam.withdrawal(self.ada, self.made)).status

    async def halted(self) -> list[str]:
        rows = await self.seam.rows("SELECT halted_reason FROM chain_signers")
        return [row.halted_reason for row in rows if row.halted_reason is not None]


@pytest.fixture
async def lied(db: Database, tmp_path: Path) -> AsyncIterator[Lied]:
    honest, liar = FakeNode(), FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=4, batches=True,
        transport=honest.transport,
    )  # fmt: skip
    await seam.fund_house()
    ada = await seam.funded_person()
    liar.chain = honest.chain
    made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    await seam.runner.tick()
    [sent] = await seam.rows("SELECT intent_id, tx_hash FROM chain_attempts")
    _hides(liar, [sent.tx_hash])
    several = FailoverRpc(seam.network, [liar.transport(), honest.transport()])
    yield Lied(seam, ada, made.id, sent.intent_id, honest, liar.transport(), several)
    await seam.close()


async def test_it_is_no_strangers_while_another_node_shows_it(lied: Lied) -> None:
    """In review it would stand with a halted address, by the word of the node that serves."""
    lied.ask(lied.several)
    await lied.passes()
    assert (await lied.status(), await lied.halted()) == ("broadcast", [])
    lied.ask(lied.honest.transport())
    await lied.passes()
    assert await lied.status() == "settled"


async def test_what_was_paid_is_not_given_back(lied: Lied) -> None:
    """It was the only node, until somebody wanted to know from another one, too."""
    lied.ask(lied.liar)
    await lied.passes()
    assert (await lied.status(), await lied.halted()) == ("in_review", ["foreign_transaction"])
    lied.ask(lied.several)
    with pytest.raises(InvalidState, match="Not all nodes show"):
        await resolve(lied.seam.runner._desk, lied.intent, by="bea")
    assert await lied.status() == "in_review"
    assert (await lied.seam.balance(lied.ada, "ETH")).held_minor > 0
    lied.ask(lied.honest.transport())
    await resolve(lied.seam.runner._desk, lied.intent, by="bea")
    assert await lied.status() == "settled"


async def test_nor_is_what_a_lost_batch_may_have_paid_let_go(lied: Lied) -> None:
    """`resume-signer` in an old copy of the books: the nonce's true transaction may be a batch."""
    lied.ask(lied.several)
    await lied.passes()
    [hot] = await lied.seam.signer.hot_addresses()
    final = (await lied.seam.chain.head()).number - 4
    with pytest.raises(InvalidState, match="Not all nodes show"):
        await regain(lied.seam.runner._desk, address=hot, nonces={0}, final=final, by="bea")

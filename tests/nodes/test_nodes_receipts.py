"""One of several nodes that lies about what a transaction did: a payment's end is not its word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chain.client import ChainClient
from chain.failover import FailoverRpc
from chain.testing.fake_node import FakeNode
from chain.transactions import tx_hash
from wallet.db import Database
from wallet.onchain import NetworkObserver
from wallet.testing.seam import Seam

OUTSIDE = "0x00000000000000000000000000000000000A11cE"


def _lies(node: FakeNode, **told: Any) -> None:
    """Of each receipt of a transaction."""
    exchange = node.exchange

    def bent(asked: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        if asked["method"] != "eth_getTransactionReceipt" or answer.get("result") is None:
            return answer
        return answer | {"result": answer["result"] | told if told else None}

    async def lying(body: bytes) -> bytes:
        asked, answer = json.loads(body), json.loads(await exchange(body))
        if isinstance(asked, dict):
            return json.dumps(bent(asked, answer)).encode()
        by_id = {one["id"]: one for one in asked}
        return json.dumps([bent(by_id[one["id"]], one) for one in answer]).encode()

    node.exchange = lying  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("told", "ends"),
    [({"status": "0x0"}, "mined"), ({}, "settled")],
    ids=["it failed", "nothing of it, as a node without an index"],
)
async def test_a_payment_ends_by_what_all_nodes_say(
    db: Database, tmp_path: Path, told: dict[str, str], ends: str
) -> None:
    honest, liar = FakeNode(), FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=4,
        transport=honest.transport,
    )  # fmt: skip
    try:
        await seam.fund_house()
        ada = await seam.funded_person()
        liar.chain = honest.chain
        _lies(liar, **told)
        nodes = [liar.transport(), honest.transport()]
        several = FailoverRpc(seam.network, nodes if told else nodes[::-1])
        seam.chain = ChainClient(seam.network, several)
        seam.observer = NetworkObserver(seam.db, seam.chain, nodes=several)
        seam.runner = seam.new_runner()
        made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
        for _ in range(6):
            await seam.observer.tick()
            await seam.runner.tick()
            honest.chain.mine(2)
        assert await seam.on_chain(OUTSIDE, "ETH") == 10**18
        done = await seam.withdrawal(ada, made.id)
        assert done.status == ends
        assert (await seam.balance(ada, "ETH")).held_minor > 0 or ends == "settled"
    finally:
        await seam.close()


async def test_a_node_that_keeps_the_bytes_and_says_the_nonce_is_used_sends_nothing_to_review(
    db: Database, tmp_path: Path
) -> None:
    """Out of review no bytes leave again, and all behind that nonce would wait for a person."""
    honest, liar = FakeNode(), FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=4,
        transport=honest.transport,
    )  # fmt: skip
    try:
        await seam.fund_house()
        ada = await seam.funded_person()
        liar.chain, true = honest.chain, seam.chain
        [hot] = await seam.signer.hot_addresses()
        several = FailoverRpc(seam.network, [liar.transport(), honest.transport()])
        seam.chain = ChainClient(seam.network, several)
        seam.observer = NetworkObserver(seam.db, seam.chain, nodes=several)
        seam.runner = seam.new_runner()
        made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
        _swallows(liar, hot)
        for _ in range(6):
            await seam.observer.tick()
            await seam.runner.tick()
            honest.chain.mine(2)
        assert (await seam.withdrawal(ada, made.id)).status in ("signed", "broadcast")
        seam.chain = true  # the operator has taken the liar out of the file
        seam.observer = NetworkObserver(seam.db, true)
        seam.runner = seam.new_runner()
        await seam.finish()
        assert (await seam.withdrawal(ada, made.id)).status == "settled"
        assert await seam.on_chain(OUTSIDE, "ETH") == 10**18
    finally:
        await seam.close()


def _swallows(node: FakeNode, hot: str) -> None:
    """It answers a transaction's hash, and that its sender has used one nonce since."""
    exchange, sent = node.exchange, []

    async def lying(body: bytes) -> bytes:
        asked = json.loads(body)
        many = asked if isinstance(asked, list) else [asked]
        if many[0]["method"] == "eth_sendRawTransaction":
            sent.append(many[0]["params"][0])
            told: object = tx_hash(bytes.fromhex(sent[0][2:]))
        elif many[0]["method"] == "eth_getTransactionCount" and sent:
            told = "0x1"
        else:
            return await exchange(body)
        return json.dumps({"jsonrpc": "2.0", "id": many[0]["id"], "result": told}).encode()

    node.exchange = lying  # type: ignore[method-assign]

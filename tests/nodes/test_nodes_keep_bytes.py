"""One of several nodes that keeps what it is given to itself, or takes nothing: others get it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chain.client import ChainClient
from chain.failover import FailoverRpc
from chain.testing.fake_node import FakeNode
from chain.transactions import tx_hash
from wallet.db import Database
from wallet.onchain import NetworkObserver
from wallet.testing.seam import Seam

OUTSIDE = "0x00000000000000000000000000000000000A11cE"


def _keeps(node: FakeNode, *, refuses: bool) -> None:
    """It follows the chain and says that it has what it was sent, or that it wants none of it."""
    exchange, sent = node.exchange, set[str]()

    async def keeping(body: bytes) -> bytes:
        asked = json.loads(body)
        many = asked if isinstance(asked, list) else [asked]
        method = many[0]["method"]
        if method == "eth_sendRawTransaction":
            [raw] = many[0]["params"]
            sent.add(tx_hash(bytes.fromhex(raw[2:])))
            told: dict[str, object] = {"result": tx_hash(bytes.fromhex(raw[2:]))}
            if refuses:
                told = {"error": {"code": -32000, "message": "transactions are not allowed"}}
            return json.dumps({"jsonrpc": "2.0", "id": many[0]["id"], **told}).encode()
        answers = json.loads(await exchange(body))
        if method == "eth_getTransactionByHash" and not refuses:
            for one, answer in zip(many, answers, strict=True):
                if one["params"][0] in sent and answer["result"] is None:
                    answer["result"] = {"hash": one["params"][0]}
        return json.dumps(answers).encode()

    node.exchange = keeping  # type: ignore[method-assign]


@pytest.mark.parametrize("refuses", [False, True], ids=["it keeps them", "it takes none"])
async def test_what_the_serving_node_keeps_to_itself_is_handed_to_the_others(
    db: Database, tmp_path: Path, *, refuses: bool
) -> None:
    """It answers all that it is asked, so nobody would turn to another one: nothing of anybody's
    would be mined, and nothing say why."""
    honest, keeper = FakeNode(), FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=4,
        transport=honest.transport,
    )  # fmt: skip
    try:
        await seam.fund_house()
        ada = await seam.funded_person()
        keeper.chain = honest.chain
        _keeps(keeper, refuses=refuses)
        several = FailoverRpc(seam.network, [keeper.transport(), honest.transport()])
        seam.chain = ChainClient(seam.network, several)
        seam.observer = NetworkObserver(seam.db, seam.chain, nodes=several)
        seam.bump_seconds = 0.0
        seam.runner = seam.new_runner()
        made = [await seam.withdraw(ada, "1", "ETH", OUTSIDE) for _ in range(2)]
        for _ in range(6):
            await seam.observer.tick()
            await seam.runner.tick()
            honest.chain.mine(2)
        done = [(await seam.withdrawal(ada, one.id)).status for one in made]
        assert done == ["settled", "settled"]
        assert await seam.on_chain(OUTSIDE, "ETH") == 2 * 10**18
    finally:
        await seam.close()

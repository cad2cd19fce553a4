"""One of several nodes that tells of next to no fees has no nonce given at such a price."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from chain.client import ChainClient
from chain.failover import FailoverRpc
from chain.testing.fake_node import FakeNode
from wallet import cli_operator
from wallet.db import Database
from wallet.onchain import NetworkObserver
from wallet.sweeps import Sweeper
from wallet.testing.seam import GWEI, Seam
from wallet.withdrawals import Planner

OUTSIDE = "0x00000000000000000000000000000000000A11cE"


def _cheap(node: FakeNode) -> None:
    exchange = node.exchange

    async def lying(body: bytes) -> bytes:
        asked: Any = json.loads(body)
        if isinstance(asked, dict) and asked["method"] == "eth_feeHistory":
            told = {"oldestBlock": "0x1", "baseFeePerGas": ["0x1"], "reward": []}
            return json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": told}).encode()
        return await exchange(body)

    node.exchange = lying  # type: ignore[method-assign]


async def test_a_node_that_tells_of_no_fees_jams_no_address(db: Database, tmp_path: Path) -> None:
    """What it had promised could be neither mined nor outbid, and everything waited behind it."""
    honest, liar = FakeNode(), FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=2,
        transport=honest.transport,
    )  # fmt: skip
    [hot] = seam.desk.hot_addresses
    seam.network = replace(seam.network, contracts={"treasury": hot})
    try:
        await seam.fund_house()
        ada = await seam.funded_person()
        liar.chain, true = honest.chain, seam.chain
        _cheap(liar)
        several = FailoverRpc(seam.network, [liar.transport(), honest.transport()])
        seam.chain = ChainClient(seam.network, several)
        seam.observer = NetworkObserver(seam.db, seam.chain, nodes=several)
        seam.planner = Planner(seam.db, {"local": seam.chain}, seam.assets)
        seam.runner = seam.new_runner()
        for _ in range(2):
            await seam.node("anvil_setNextBlockBaseFeePerGas", hex(30 * GWEI))
            await seam.dev.mine(1)
        await seam.observer.tick()
        promised = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
        await seam.runner.tick()
        waits = await seam.withdrawal(ada, promised.id)
        assert (waits.status, waits.waiting_for, waits.attempts) == ("held", "fees", [])
        await Sweeper(db, seam.chain, seam.assets, seam.signer).tick()
        assert await seam.rows("SELECT 1 FROM sweeps") == []  # it would wait for an operator
        alone = ChainClient(seam.network, honest.transport())
        await Sweeper(db, alone, seam.assets, seam.signer).tick()
        await seam.runner.tick()
        [sweep] = await seam.rows("SELECT id, waiting_for FROM chain_intents WHERE purpose = :p",
                                  p="sweep")  # fmt: skip
        assert sweep.waiting_for == "fees"
        services: Any = SimpleNamespace(
            db=seam.operators, networks={"local": seam.network}, chains={"local": seam.chain},
            signer=seam.signer, assets=seam.assets,
        )  # fmt: skip
        chosen = argparse.Namespace(action="cancel", withdrawal=sweep.id, by="bea")
        assert await cli_operator._replace(services, chosen) == 0
        assert await seam.rows("SELECT 1 FROM sweeps WHERE state = 'open'") == []
        seam.chain = true  # the operator has taken the liar out of the file
        seam.observer = NetworkObserver(seam.db, true)
        seam.planner = Planner(seam.db, {"local": true}, seam.assets)
        seam.runner = seam.new_runner()
        await seam.observer.tick()
        made = await seam.withdraw(ada, "2", "ETH", OUTSIDE)
        await seam.finish()
        assert (await seam.withdrawal(ada, made.id)).status == "settled"
    finally:
        await seam.close()

"""A token that bars an address by `assert`, which no node calls a revert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from chain.client import ChainClient
from chain.errors import NodeRejected
from chain.testing.fake_node import FakeNode
from wallet.db import Database
from wallet.sweeps import Sweeper
from wallet.testing.meddler import Meddler
from wallet.testing.seam import Seam


async def test_it_keeps_none_of_the_others(db: Database, tmp_path: Path) -> None:
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=2,
        transport=FakeNode().transport,
    )  # fmt: skip
    try:
        [hot] = seam.desk.hot_addresses
        seam.network = replace(seam.network, contracts={"treasury": hot})
        await seam.fund_house()
        barred, other = await seam.person(), await seam.person()
        for who, amount in ((barred, "500"), (other, "400")):  # most comes first
            await seam.pay_in(await seam.address(who), amount, "USDC")
        await seam.arrive()
        eve = await seam.address(barred)

        def bars(method: str, params: Sequence[Any], honest: Any) -> Any:
            if method == "eth_estimateGas" and params[0]["from"] == eve:
                return NodeRejected(-32000, "invalid opcode: INVALID")
            return honest

        meddler = Meddler(seam.opened[0])
        meddler.alter = bars
        chain = ChainClient(seam.network, meddler)
        await Sweeper(db, chain, seam.assets, seam.signer, patience_seconds=0.0).tick()
        found = await seam.rows("SELECT a.address FROM sweep_accounts a")
        assert [row.address for row in found] == [await seam.address(other)]
    finally:
        await seam.close()

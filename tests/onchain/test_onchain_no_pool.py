"""A node whose word of its pool cannot be read keeps nothing that does without it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from chain.client import ChainClient
from chain.failover import FailoverRpc
from chain.rpc import JsonRpc
from chain.testing import AnvilProcess
from wallet.db import Database
from wallet.testing.seam import Seam

OUTSIDE = "0x00000000000000000000000000000000000A11cE"


class Liar(JsonRpc):
    """Answers garbage to one question."""

    asked = 0

    async def call(self, method: str, params: Sequence[object] = ()) -> object:
        if method == "eth_getTransactionCount" and params[1] == "pending":
            self.asked += 1
            return "0x01"
        return await super().call(method, params)


@pytest.mark.parametrize("alone", [True, False])
async def test_payments_go_on(
    db: Database, anvil: AnvilProcess, tmp_path: Path, alone: bool
) -> None:
    seam = await Seam.open(db, anvil.url, tmp_path / "signer", batches=True)
    try:
        await seam.fund_house()
        ada = await seam.funded_person()
        made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
        liar, honest = Liar(anvil.url), JsonRpc(anvil.url)
        seam.opened += [liar, honest]
        several = FailoverRpc(seam.network, [liar, honest])
        seam.chain = ChainClient(seam.network, liar if alone else several)
        seam.runner = seam.new_runner()
        await seam.runner.tick()
        assert (await seam.withdrawal(ada, made.id)).status == "broadcast"
        assert liar.asked == (2 if alone else 1)
        assert alone or several._current is several._nodes[1]
        await seam.finish()
        assert (await seam.withdrawal(ada, made.id)).status == "settled"
    finally:
        await seam.close()

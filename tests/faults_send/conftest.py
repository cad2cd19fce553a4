"""A person with money, and a node whose words can be meddled with."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from chain.client import ChainClient
from chain.rpc import JsonRpc
from chain.transactions import TxFields, decode_unsigned
from tests.seam_fixtures import db, seam
from wallet.deposits import Scanner
from wallet.onchain import NetworkObserver
from wallet.testing.meddler import Meddler
from wallet.testing.seam import Seam
from wallet.withdrawals import Planner, Withdrawal

__all__ = ["db", "seam"]
OUTSIDE = "0x00000000000000000000000000000000000A11cE"


@dataclass
class Case:
    """One row of the fault matrix being played."""

    seam: Seam
    meddler: Meddler
    ada: str

    def stand(self) -> None:
        """The worker of now, behind the meddler (again after a restart)."""
        seam = self.seam
        seam.chain = ChainClient(seam.network, self.meddler)
        seam.observer = NetworkObserver(seam.db, seam.chain)
        seam.scanner = Scanner(seam.db, seam.chain, seam.assets)
        seam.planner = Planner(seam.db, {"local": seam.chain}, seam.assets)
        seam.runner = seam.new_runner()

    async def withdraw(self, amount: str = "1", asset: str = "ETH") -> Withdrawal:
        return await self.seam.withdraw(self.ada, amount, asset, OUTSIDE)

    async def now(self, made: Withdrawal) -> Withdrawal:
        return await self.seam.withdrawal(self.ada, made.id)

    async def broadcast(self, amount: str = "1", asset: str = "ETH") -> Withdrawal:
        """A withdrawal that the node has in its pool and does not mine."""
        await self.seam.automine(False)
        made = await self.withdraw(amount, asset)
        await self.seam.pass_once()
        sent = await self.now(made)
        assert sent.status == "broadcast"
        return sent

    async def finish(self) -> None:
        self.meddler.calm()
        await self.seam.automine(True)
        await self.seam.finish()

    async def paid(self, asset: str = "ETH") -> int:
        return await self.seam.on_chain(OUTSIDE, asset)

    async def fields(self) -> list[tuple[str, TxFields, str | None]]:
        """(kind, fields, hash) of every attempt, by nonce and age."""
        rows = await self.seam.rows(
            "SELECT a.kind, a.unsigned, a.tx_hash FROM chain_attempts a JOIN chain_intents i"
            " ON i.id = a.intent_id ORDER BY i.nonce, a.seq"
        )
        return [(row.kind, decode_unsigned(bytes(row.unsigned)), row.tx_hash) for row in rows]

    async def settled_once(self, made: Withdrawal, minor: int = 10**18) -> None:
        """It ended, its recipient has exactly the amount, and the books equal the chain."""
        await self.finish()
        assert (await self.now(made)).status == "settled"
        assert await self.paid(made.money.asset.code) == minor
        assert await self.seam.differences() == []

    async def halted(self) -> str | None:
        rows = await self.seam.rows("SELECT halted_reason FROM chain_signers")
        return next((str(row.halted_reason) for row in rows if row.halted_reason), None)


@pytest.fixture
async def case(seam: Seam) -> Case:
    ada = await seam.funded_person()
    rpc = JsonRpc(seam.url, timeout_seconds=2.0)
    seam.opened.append(rpc)
    case = Case(seam, Meddler(rpc), ada)
    case.stand()
    return case

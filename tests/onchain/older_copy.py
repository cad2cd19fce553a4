"""A database that is put back to an older copy of itself, as after a real restore."""

from __future__ import annotations

from dataclasses import dataclass

from tests.sweeps.test_sweeps_strangers import find
from wallet.auditor import instance as audited
from wallet.auditor.run import audit
from wallet.testing.databases import ScratchCluster, ScratchDatabase
from wallet.testing.seam import Seam


@dataclass
class OlderCopy:
    """One copy, put back as often as somebody wants to."""

    seam: Seam
    database: ScratchDatabase
    cluster: ScratchCluster
    kept: ScratchDatabase | None = None

    async def take(self) -> None:
        """The backup."""
        await self._let_go()
        self.kept = self.cluster.copy(self.database)

    async def put_back(self) -> None:
        """The restore: a new worker begins in the copy. Chain and journal are as they are."""
        assert self.kept is not None
        await self._let_go()
        self.cluster.put_back(self.database, self.cluster.copy(self.kept))
        self.seam.restart_worker()

    async def _let_go(self) -> None:
        await self.seam.db.dispose()
        await self.seam.operators.dispose()

    async def scan_first(self) -> None:
        """The scanner books what is final before any payment is looked at."""
        for _ in range(2):
            await self.seam.dev.mine(self.seam.network.confirmations)
            await self.seam.observer.tick()
            await self.seam.scanner.tick()

    async def balances(self) -> dict[str, int]:
        """Every account of the books that holds anything."""
        rows = await self.seam.rows(
            "SELECT a.path, sum(p.amount_minor) AS minor FROM postings p"
            " JOIN accounts a ON a.id = p.account_id GROUP BY 1 HAVING sum(p.amount_minor) <> 0"
        )
        return {row.path: int(row.minor) for row in rows}

    async def unexplained(self) -> list[str]:
        """What reconcile, the balance finder and the whole audit name, chain and all."""
        await find(self.seam)
        net = self.seam.network
        tokens = {one.code: (one.contract.lower(), one.decimals) for one in net.tokens}
        network = audited.Network(
            net.name, net.chain_id, (self.seam.url,), net.native_asset, tokens, net.contracts,
            net.deposit_kind == "create2",
        )  # fmt: skip
        told = audited.Instance({net.name: network})
        report = audit(self.database.conninfo("bifold_audit"), told)
        cases = await self.seam.rows(
            "SELECT kind || ' ' || subject AS one FROM cases WHERE status = 'open'"
        )
        return [
            *await self.seam.differences(),
            *(f"{one.code} {one.subject} {one.expected} {one.found}" for one in report.findings),
            *(f"not known: {word.unknown}" for word in report.chains if word.unknown),
            *(row.one for row in cases),
        ]

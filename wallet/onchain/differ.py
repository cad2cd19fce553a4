"""What several nodes of a network say differently, and for long, is a case until they do not.

What waits for it goes on waiting: of two nodes neither can be believed against the other. A person
finds out which one is wrong and takes it out of the networks file.
"""

from __future__ import annotations

from sqlalchemy import text

from chain.differences import in_words
from chain.failover import FailoverRpc
from wallet import cases
from wallet.cases import HOUSE
from wallet.db import Database

WAITS = {
    "fees": "what bids less than the dearer one asks gets no nonce (waiting_for: fees), and sweeps"
    " are not begun",
    "finality": "nothing above the lower one is credited, and no payment ends there",
    "nonces": "nothing is sent from that address",
    "receipts": "such a payment does not end",
    "arrivals": "what came so is not credited",
    "decimals": "that token is not halted for it",
    "balance": "the evacuation of that address does not end",
    "transfers": "that token is not left at the address that is emptied for 15 minutes",
}


class DifferWatch:
    """One network's nodes; None where it has one alone. What stood when this process began ends
    when nobody sees it for a while."""

    def __init__(self, db: Database, network: str, nodes: FailoverRpc | None) -> None:
        self._db = db
        self._network = network
        self._differences = None if nodes is None else nodes.differences
        self._told: set[str] | None = None

    async def tick(self) -> None:
        """Open what stands, close what does not any more. Safe to repeat."""
        if self._told is None:
            self._told = await self._open()
            if self._differences is not None:
                self._differences.expect(self._told)
        standing = {} if self._differences is None else self._differences.standing()
        gone = self._told - standing.keys()
        new = {about: said for about, said in standing.items() if about not in self._told}
        if not gone and not new:
            return
        async with self._db.transaction() as session:
            await cases.close_all(
                session, kinds=["nodes_differ"], by=HOUSE, note="the nodes say the same again",
                subjects=[f"{self._network}/{about}" for about in sorted(gone)],
            )  # fmt: skip
            for about, said in new.items():
                what = WAITS[about.partition("/")[0]]
                await cases.open_case(
                    session,
                    kind="nodes_differ",
                    subject=f"{self._network}/{about}",
                    network=self._network,
                    what=f"The nodes of {self._network} differ about {about}: {in_words(said)}."
                    f" While they do, {what}. Find out which one is wrong by a third source and"
                    " take it out of rpc_urls.",
                    evidence={"about": about, "said": said},
                )
        self._told = set(standing)

    async def _open(self) -> set[str]:
        async with self._db.transaction() as session:
            rows = await session.execute(
                text(
                    "SELECT subject FROM cases WHERE kind = 'nodes_differ' AND status = 'open'"
                    " AND network = :network"
                ),
                {"network": self._network},
            )
            return {str(one).removeprefix(f"{self._network}/") for one in rows.scalars()}

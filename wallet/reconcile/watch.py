"""Each minute: read everything, keep it, open a case where a difference stands, close what agrees.

A difference is a case when two readings of its source in a row show one on that account: money on
its way between two moments never is. Sources that could not be read open and close nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from chain.client import ChainClient
from wallet import cases
from wallet.cases import HOUSE
from wallet.crashpoints import hit
from wallet.db import Database
from wallet.ledger.reconcile_line import ReconcileLine
from wallet.money import AssetBook, format_amount
from wallet.reconcile import history
from wallet.reconcile.reading import Read, Reading, take

TICK_SECONDS = 60.0
log = structlog.get_logger(__name__)


class ReconcileWatch:
    """All networks, the bank and the books. One worker runs it at a time."""

    def __init__(self, db: Database, chains: Mapping[str, ChainClient], assets: AssetBook) -> None:
        self._db = db
        self._chains = chains
        self._assets = assets

    async def tick(self) -> Reading:
        """One reading, its history and its cases, in one transaction."""
        reading = await take(self._db, self._chains)
        async with self._db.transaction() as session:
            run_id = await history.store(session, reading)
            for read in reading.reads:
                if read.unknown_reason is None:
                    await self._judge(session, run_id, read)
            await history.forget(session)
            hit("reconcile.before_commit")
        hit("reconcile.after_commit")
        if reading.outcome != "agrees":
            log.warning("reconcile.not_agreed", run=run_id, outcome=reading.outcome,
                        unknown=[r.source for r in reading.reads if r.unknown_reason])  # fmt: skip
        return reading

    async def _judge(self, session: AsyncSession, run_id: str, read: Read) -> None:
        well = [line.account for line in read.lines if line.balanced]
        await cases.close_all(
            session,
            kinds=["books_differ"],
            subjects=[*well, *read.agrees],
            by=HOUSE,
            note=f"it agreed in reading {run_id}",
        )
        off = [line for line in read.lines if not line.balanced]
        if not off:
            return
        before = await history.off_before(session, run_id=run_id, source=read.source)
        for line in off:
            if line.account in before:
                await self._open(session, read, line, readings=[before[line.account], run_id])

    async def _open(
        self, session: AsyncSession, read: Read, line: ReconcileLine, *, readings: list[str]
    ) -> None:
        kind, _, rest = line.account.partition(":")
        block = read.block
        await cases.open_case(
            session,
            kind="books_differ",
            subject=line.account,
            network=rest.split(":")[0] if kind == "chain" else None,
            asset=line.asset,
            what=f"{line.account}: {self._words(line)}, in two readings; {line.note}.",
            evidence={
                "ledger_minor": str(line.ledger_minor),
                "outside_minor": str(line.outside_minor),
                "in_flight_minor": str(line.in_flight_minor),
                "difference_minor": str(line.difference),
                "block_number": None if block is None else block.number,
                "block_hash": None if block is None else block.hash,
                "readings": readings,
            },
        )

    def _words(self, line: ReconcileLine) -> str:
        """The difference to the unit, as people and as machines read it."""
        if line.difference == 0:
            return "its sums agree and its references do not"
        minor = abs(line.difference)
        amount = format_amount(minor, self._assets.scale(line.asset))
        more = "more" if line.difference > 0 else "less"
        return (
            f"{amount} {line.asset} ({minor} of the smallest unit) {more} is there than the books"
            " and what is under way explain"
        )

"""One reading of everything: each network at its final block, the bank, the card gateway, the books
themselves.

What cannot be read is not known, and never a difference; it does not hide what can be read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sqlalchemy import text

from chain.blocks import BlockRef
from chain.client import ChainClient
from wallet import ledger
from wallet.db import Database
from wallet.ledger.reconcile_line import ReconcileLine
from wallet.payouts.reconcile import bank_lines
from wallet.reconcile.chain import ReconcileFailed, read_network
from wallet.topups import gateway_lines

Outcome = Literal["agrees", "differs", "unknown"]
BOOKS = "books"
BANK = "bank"
GATEWAY = "gateway"
TRIAL = "trial_balance"
NOBODY = "nothing that is configured here reads this account, or its token says nothing"


@dataclass(frozen=True, slots=True)
class Read:
    """What one source said. `unknown_reason`: why it could not be read; then it has no lines.

    `agrees`: accounts without a line of their own that were looked at and are well.
    """

    source: str
    lines: list[ReconcileLine] = field(default_factory=list)
    unknown_reason: str | None = None
    block: BlockRef | None = None
    final: bool = False
    agrees: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """All sources, read between `started_at` (the database's clock) and now."""

    started_at: datetime
    reads: list[Read]

    @property
    def outcome(self) -> Outcome:
        """A difference outweighs what is not known."""
        if any(not line.balanced for read in self.reads for line in read.lines):
            return "differs"
        return "unknown" if any(read.unknown_reason for read in self.reads) else "agrees"


async def take(db: Database, chains: Mapping[str, ChainClient]) -> Reading:
    """Read everything once. Raises nothing for a node that is away; the database must be there."""
    async with db.transaction() as session:
        started_at: datetime = (
            await session.execute(text("SELECT clock_timestamp()"))
        ).scalar_one()
    reads = list(
        await asyncio.gather(*(_network(db, chain) for _, chain in sorted(chains.items())))
    )
    for source, lines in ((BANK, await bank_lines(db)), (GATEWAY, await gateway_lines(db))):
        if lines:
            reads.append(Read(source, lines))
    async with db.snapshot() as session:
        trial = await ledger.trial_balance(session)
        owned = (
            await session.execute(
                text(
                    "SELECT path FROM account_balances WHERE kind = 'system' AND balance_minor <> 0"
                    " AND (path LIKE 'chain:%' OR path LIKE 'bank:%' OR path LIKE 'gateway:%')"
                    " ORDER BY path"
                )
            )
        ).scalars()
        reads += _left_out(list(owned), reads)
    reads.append(_books(trial))
    return Reading(started_at, reads)


async def _network(db: Database, chain: ChainClient) -> Read:
    source = f"chain:{chain.network.name}"
    try:
        found = await read_network(db, chain, final=True)
    except ReconcileFailed as error:
        return Read(source, unknown_reason=error.detail[:500])
    if found.block is None:
        return Read(source, unknown_reason="nothing is final there yet")
    return Read(source, found.lines, block=found.block, final=found.final)


def _left_out(owned: list[str], reads: list[Read]) -> list[Read]:
    """Accounts with something on them that no source spoke of: a network or token that is not
    configured any more, a token that says nothing. Silence about them would look like agreement."""
    covered = {line.account for read in reads for line in read.lines}
    silent = {read.source for read in reads if read.unknown_reason}
    return [
        Read(path, unknown_reason=NOBODY)
        for path in owned
        if path not in covered and ":".join(path.split(":")[:2]) not in silent
    ]


def _books(trial: Mapping[str, int]) -> Read:
    """The sum of all balances of an asset is zero, or the books themselves are broken."""
    return Read(
        BOOKS,
        [
            ReconcileLine(
                account=f"{TRIAL}:{code}",
                asset=code,
                ledger_minor=minor,
                outside_minor=0,
                note="the balances of all accounts do not sum to zero",
            )
            for code, minor in sorted(trial.items())
            if minor
        ],
        agrees=tuple(f"{TRIAL}:{code}" for code, minor in trial.items() if not minor),
    )

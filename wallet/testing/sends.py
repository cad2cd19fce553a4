"""The send campaign: one fault at a time, drawn by a seed, over payments to addresses of their own.

A schedule is a few withdrawals of a person, one kind of fault while the worker is at them, and then
calm weather. What it must end in does not depend on the fault: every recipient has the exact amount
or nothing, nobody is paid twice, nothing is left standing, and books and chain agree.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from chain.client import ChainClient
from wallet.ids import new_id
from wallet.onchain.intents import PAYOUT_BATCH
from wallet.onchain.payout_contract import reference
from wallet.testing import own as owns
from wallet.testing.send_faults import FAULTS, Fault
from wallet.testing.stage import Stage

ENDS = {"settled", "cancelled", "failed"}
CALM_ROUNDS = 4
"""The deadline: so often the network's finality passes after a fault, and all must have ended."""


@dataclass
class Tally:
    """What a run of schedules came to."""

    schedules: int = 0
    payments: int = 0
    batches: int = 0
    """Transactions that were made to pay several."""
    most_mined: int = 0
    """The most transactions that paid one payment."""
    off: int = 0
    """Smallest units that recipients have too many or too few, in all."""
    stranded: int = 0
    by_end: Counter[str] = field(default_factory=Counter)
    by_row: Counter[str] = field(default_factory=Counter)
    by_own: Counter[str] = field(default_factory=Counter)
    """How the house's own payments ended, by kind."""
    wrong: list[str] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    """One line a schedule; the same on every node."""

    def add(self, other: Tally) -> None:
        """Another run's figures on top."""
        self.schedules += other.schedules
        self.payments += other.payments
        self.batches += other.batches
        self.most_mined = max(self.most_mined, other.most_mined)
        self.off += other.off
        self.stranded += other.stranded
        self.by_end.update(other.by_end)
        self.by_row.update(other.by_row)
        self.by_own.update(other.by_own)
        self.wrong += other.wrong
        self.outcomes += other.outcomes

    def figures(self) -> dict[str, Any]:
        """All but the lists, as JSON has it."""
        return {
            "schedules": self.schedules, "payments": self.payments, "batches": self.batches,
            "off": self.off, "most_mined": self.most_mined, "stranded": self.stranded,
            "by_end": dict(self.by_end), "by_row": dict(self.by_row),
            "by_own": dict(self.by_own),
        }  # fmt: skip

    @property
    def digest(self) -> str:
        """A hash over all outcomes."""
        return hashlib.sha256("\n".join(self.outcomes).encode()).hexdigest()


async def play(stage: Stage, name: str, seed: int, tally: Tally) -> None:
    """One schedule, from its first withdrawal to calm weather; what is wrong goes to `tally`."""
    dice, seam, fault = random.Random(f"{name}/{seed}"), stage.seam, FAULTS[name]  # noqa: S311
    where = f"{name}, seed {seed}"
    stage.trace.line("#", where)
    stage.first_id = new_id("int")
    made: dict[str, tuple[str, str, int]] = {}
    own = stage.own
    with stage.points.heard():
        if own is not None:
            await own.begin(random.Random(f"own/{name}/{seed}"))  # noqa: S311
        for _ in range(dice.randint(*stage.house.payments)):
            to, (asset, amount) = stage.address(), dice.choice(stage.house.assets)
            promised = await seam.withdraw(stage.person, amount, asset, to)
            made[promised.id] = (to, asset, promised.money.minor)
        if own is not None:
            await own.start()
        try:
            await fault.play(stage, dice, list(made))
        except AssertionError as error:
            tally.wrong.append(f"{where}: {error}")
        ends = await _calm(stage, fault, list(made))
    told = []
    for item, (to, asset, minor) in made.items():
        end, there = ends[item], await seam.on_chain(to, asset)
        wanted = minor if end == "settled" else 0
        if end not in ENDS:
            tally.stranded += 1
            tally.wrong.append(f"{where}: stranded as {end}")
        elif there != wanted:
            tally.off += abs(there - wanted)
            tally.wrong.append(f"{where}: {end}, and the recipient is off by {there - wanted}")
        tally.by_end[end] += 1
        told.append(f"{asset} {minor} {end} {there}")
    most = await most_mined(stage)
    if most > 1:
        tally.wrong.append(f"{where}: a payment was mined {most} times")
    tally.most_mined = max(tally.most_mined, most)
    tally.wrong += [f"{where}: {line}" for line in await seam.differences()]
    if own is not None:
        tally.wrong += [f"{where}: {line}" for line in await own.verdict(tally.by_own)]
    tally.outcomes.append(f"{where}: {'; '.join(told)}")
    stage.trace.line("@", tally.outcomes[-1])
    tally.by_row.update(fault.rows.split())
    tally.schedules += 1
    tally.payments += len(made)
    [made_batches] = await seam.rows(
        "SELECT count(*) AS n FROM chain_intents WHERE id > :first AND purpose = :purpose",
        first=stage.first_id,
        purpose=PAYOUT_BATCH,
    )
    tally.batches += made_batches.n


async def _calm(stage: Stage, fault: Fault, ids: list[str]) -> dict[str, str]:
    """An honest node, and time enough; how each withdrawal ended."""
    seam, own = stage.seam, stage.own
    stage.meddler.calm()
    await seam.automine(True)
    for _ in range(CALM_ROUNDS if own is None else owns.CALM_ROUNDS):
        await stage.tick(seam.network.confirmations)
        if fault.review:
            await stage.operator()
        if own is not None:
            await own.calm()
        rows = await seam.rows("SELECT id, status FROM withdrawals WHERE id = ANY(:ids)", ids=ids)
        ends = {row.id: str(row.status) for row in rows}
        if set(ends.values()) <= ENDS and (own is None or not await own.open_things()):
            break
    await stage.make_good()
    if own is not None:
        own.rests = True  # nothing new is begun
    await stage.tick(seam.network.confirmations)  # the final block is read, too
    return ends


async def most_mined(stage: Stage) -> int:
    """Of this schedule's payments: the most transactions of one that moved its money, alone or in a
    batch, as the chain has it."""
    rows = await stage.seam.rows(
        "SELECT a.intent_id, a.tx_hash, i.purpose FROM chain_attempts a"
        " JOIN chain_intents i ON i.id = a.intent_id WHERE a.intent_id > :first"
        " AND a.tx_hash IS NOT NULL AND a.kind IN ('pay', 'bump') ORDER BY a.intent_id, a.seq",
        first=stage.first_id,
    )
    if not rows:
        return 0
    payments = await stage.seam.rows(
        "SELECT id FROM chain_intents WHERE id > :first AND purpose <> 'payout_batch'",
        first=stage.first_id,
    )
    by_reference = {"0x" + reference(row.id).hex(): str(row.id) for row in payments}
    client = ChainClient(stage.seam.network, stage.seam.opened[0])
    receipts = await client.receipts([row.tx_hash for row in rows])
    mined: Counter[str] = Counter()
    for row, receipt in zip(rows, receipts, strict=True):
        if receipt is None or receipt.status != 1:
            continue
        if row.purpose != PAYOUT_BATCH:
            mined[row.intent_id] += 1
            continue
        told = [
            by_reference.get(entry.topics[2]) for entry in receipt.logs if len(entry.topics) == 4
        ]
        mined.update(one or "nobody" for one in told)
    return max(mined.values(), default=0) if "nobody" not in mined else 99

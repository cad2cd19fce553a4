"""`./dev campaign sends [--seeds N] [--fault NAME] [--seed S]`: every fault of sending, by seed.

Each schedule is one kind of fault over a few payments on a real Anvil, then calm weather. Figures:
payments mined more than once (0), recipients off by a unit (0), payments that never ended (0).
The schedule and its outcome depend on fault and seed alone.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from chain.testing import AnvilProcess
from wallet import log
from wallet.db import Database
from wallet.migrate import upgrade
from wallet.testing.databases import ScratchCluster
from wallet.testing.seam import Seam
from wallet.testing.sends import FAULTS, Stage, Tally, play

FRESH_EVERY = 60
"""Schedules on one node and one database, before both are new again."""


async def run(cluster: ScratchCluster, names: list[str], seeds: range) -> Tally:
    """All schedules, until one is wrong."""
    tally = Tally()
    plan = [(name, seed) for seed in seeds for name in names]
    for first in range(0, len(plan), FRESH_EVERY):
        with tempfile.TemporaryDirectory(prefix="bifold-sends-") as folder:
            process = AnvilProcess(keep_states=64)
            process.start()
            db = Database(cluster.create().app_url)
            try:
                seam = await Seam.open(db, process.url, Path(folder) / "signer")
                try:
                    stage = await Stage.open(seam)
                    for name, seed in plan[first : first + FRESH_EVERY]:
                        await play(stage, name, seed, tally)
                        if tally.wrong:
                            return tally
                finally:
                    await seam.close()
            finally:
                await db.dispose()
                process.stop()
    return tally


def main(arguments: list[str]) -> int:
    """Run it; 1 with what is wrong and the seed that shows it."""
    parser = argparse.ArgumentParser(prog="./dev campaign sends", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="schedules of each fault")
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--fault", choices=sorted(FAULTS), help="only this one")
    chosen = parser.parse_args(arguments)
    log.configure("CRITICAL")
    names = [chosen.fault] if chosen.fault else list(FAULTS)
    cluster = ScratchCluster(durable=False, migrate=upgrade)
    began = time.monotonic()
    try:
        tally = asyncio.run(run(cluster, names, range(chosen.seed, chosen.seed + chosen.seeds)))
    finally:
        cluster.close()
    took = time.monotonic() - began
    for line in tally.wrong:
        print(line)
    ends = ", ".join(f"{count} {end}" for end, count in sorted(tally.by_end.items()))
    print(f"{tally.schedules} schedules of {len(names)} faults, {tally.payments} payments: {ends}; "
          f"{len(tally.wrong)} wrong: {took:.0f} s")  # fmt: skip
    return int(bool(tally.wrong))

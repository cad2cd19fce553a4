"""`./dev campaign sends`: the faults of sending by seed, most on a fake node, a tenth on Anvil.

A seed plays all rows S1 to S28 of the fault matrix one after the other, on a new node and a new
database, in one of four houses: one hot address, three side by side, payments in batches, batches
of two addresses. Where a row has several faults, seeds take turns. Each schedule is one fault over
a few payments, then calm weather. Figures: transactions that paid one payment (1 at most),
recipients off by a unit (0), payments that never ended (0).

On the fake node a seed's log is the same byte for byte: `--replay` plays each seed twice and
compares, `--log FOLDER` keeps the lines. On Anvil the schedule and the outcome are the same.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import uvloop

from chain.testing import AnvilProcess, FakeNode
from wallet import log
from wallet.db import Database
from wallet.migrate import upgrade
from wallet.testing.databases import ScratchCluster
from wallet.testing.send_faults import FAULTS, ROWS, chosen
from wallet.testing.sends import Tally, play
from wallet.testing.stage import HOUSES, Backup, Stage
from wallet.testing.trace import Trace, counted_ids, counted_seconds

ANVIL_EVERY = 10
"""`--node both`: seeds that end in 0 are played on Anvil."""
TOLD_EVERY = 20
"""Seeds of a process between two lines about how far it is."""


@dataclass
class Played:
    """A seed, and how it went. `digest` is the log's, on a fake node."""

    tally: Tally
    digest: str
    seconds: float


async def play_seed(
    cluster: ScratchCluster,
    seed: int,
    names: list[str],
    *,
    anvil: bool,
    house: str | None = None,
    file: Path | None = None,
) -> Played:
    """All faults named, in order, on a new node and a new database; until one is wrong. Without
    `house` it is the seed's."""
    tally, trace, began = Tally(), Trace(file), time.monotonic()
    database = cluster.create()
    db = Database(database.app_url, pre_ping=False)
    process = AnvilProcess(keep_states=64) if anvil else None
    try:
        url = process.start().url if process else "http://fake.invalid"
        with tempfile.TemporaryDirectory(prefix="bifold-sends-") as folder, ExitStack() as counted:
            counted.enter_context(counted_ids())
            if not anvil:
                counted.enter_context(counted_seconds(trace))
            fake = None if anvil else FakeNode()
            stage = await Stage.open(
                db, url, Path(folder) / "signer", house=house or house_of(seed), fake=fake,
                trace=trace, backup=Backup(cluster, database),
            )  # fmt: skip
            try:
                for name in names:
                    await play(stage, name, seed, tally)
                    if tally.wrong:
                        break
            finally:
                await stage.seam.close()
    finally:
        await db.dispose()
        cluster.drop(database)
        trace.close()
        if process:
            process.stop()
    return Played(tally, trace.digest, time.monotonic() - began)


def house_of(seed: int) -> str:
    """Where a seed plays; each house has its turn, also among the seeds that end in 0."""
    names = list(HOUSES)
    return names[(seed + seed // ANVIL_EVERY) % len(names)]


def plan(seed: int, fault: str | None, *, every_fault: bool) -> list[str]:
    """The faults that a seed plays."""
    if fault:
        return [fault]
    return list(FAULTS) if every_fault else [chosen(row, seed) for row in ROWS]


async def run(cluster: ScratchCluster, options: argparse.Namespace) -> dict[str, object]:
    """This process's share of the seeds, until one is wrong or time is over; its figures."""
    until = time.monotonic() + options.minutes * 60
    sums: dict[str, Tally] = {"fake": Tally(), "anvil": Tally()}
    seconds = {"fake": 0.0, "anvil": 0.0}
    digests: dict[int, str] = {}
    outcomes: dict[int, str] = {}
    wrong: list[str] = []
    share = range(options.seed, options.seed + options.seeds)[options.part :: options.workers]
    for number, seed in enumerate(share, 1):
        anvil = options.node == "anvil" or (options.node == "both" and seed % ANVIL_EVERY == 0)
        names = plan(seed, options.fault, every_fault=options.every_fault)
        file = options.log / f"{seed}.log" if options.log else None
        house = options.house
        played = await play_seed(cluster, seed, names, anvil=anvil, house=house, file=file)
        node = "anvil" if anvil else "fake"
        seconds[node] += played.seconds
        sums[node].add(played.tally)
        outcomes[seed] = played.tally.digest
        if not anvil:
            digests[seed] = played.digest
        wrong += played.tally.wrong
        if options.replay and not wrong:
            again = await play_seed(cluster, seed, names, anvil=anvil, house=house)
            if again.tally.digest != played.tally.digest:
                wrong.append(f"seed {seed}: another outcome the second time")
            if not anvil and again.digest != played.digest:
                wrong.append(f"seed {seed}: another log the second time")
        if number % TOLD_EVERY == 0:
            _progress(
                f"{number} of {len(share)} seeds of part {options.part}", sums.values(), wrong
            )
        if wrong or time.monotonic() > until:
            break
    return {
        "wrong": wrong, "digests": digests, "outcomes": outcomes, "seconds": seconds,
        "figures": {node: tally.figures() for node, tally in sums.items()},
    }  # fmt: skip


def _progress(where: str, sums: Iterable[Tally], wrong: list[str]) -> None:
    """A run of an hour that is ended before its time has told something."""
    figures = [tally.figures() for tally in sums]
    schedules, payments, off, stranded = (
        sum(int(one[key]) for one in figures)
        for key in ("schedules", "payments", "off", "stranded")
    )
    most = max(int(one["most_mined"]) for one in figures)
    print(
        f"{where}: {schedules} schedules, {payments} payments, mined at most {most}, off by {off},"
        f" stranded {stranded}, {len(wrong)} wrong",
        file=sys.stderr,
        flush=True,
    )


def main(arguments: list[str]) -> int:
    """Run it; 1 with what is wrong and the seed that shows it."""
    parser = argparse.ArgumentParser(prog="./dev campaign sends", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many (28 schedules each)")
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--node", choices=("fake", "anvil", "both"), default="both")
    parser.add_argument("--fault", choices=sorted(FAULTS), help="only this one")
    parser.add_argument("--house", choices=list(HOUSES), help="only in this one")
    parser.add_argument("--every-fault", action="store_true", help="all of a row with each seed")
    parser.add_argument("--replay", action="store_true", help="each seed twice, and compare")
    parser.add_argument("--log", type=Path, help="keep each seed's log in this folder")
    parser.add_argument("--workers", type=int, default=1, help="processes side by side")
    parser.add_argument("--minutes", type=float, default=1e6, help="then tell what was done")
    parser.add_argument("--part", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.log:
        options.log.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    if options.part is not None:
        print(json.dumps(_part(options)))
        return 0
    if options.workers > 1:
        parts = _side_by_side(arguments, options.workers)
    else:
        options.part = 0
        parts = [_part(options)]
    return _tell(parts, time.monotonic() - began)


def _part(options: argparse.Namespace) -> dict[str, object]:
    log.configure("CRITICAL")
    gc.set_threshold(100_000, 50, 100)  # a schedule makes many short-lived objects and no cycles
    cluster = ScratchCluster(durable=False, migrate=upgrade)
    try:
        return uvloop.run(run(cluster, options))
    finally:
        cluster.close()


def _side_by_side(arguments: list[str], workers: int) -> list[dict[str, object]]:
    command = [sys.executable, "-m", "bench.campaigns", "sends", *arguments]
    running = [
        subprocess.Popen([*command, "--part", str(part)], stdout=subprocess.PIPE, text=True)
        for part in range(workers)
    ]
    answers = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit("a worker of the campaign ended badly")
    return [json.loads(answer) for answer in answers]


def _tell(parts: list[dict[str, object]], took: float) -> int:
    wrong = [line for part in parts for line in part["wrong"]]
    for line in wrong:
        print(line)
    for node in ("fake", "anvil"):
        figures = [part["figures"][node] for part in parts]
        schedules = sum(one["schedules"] for one in figures)
        if not schedules:
            continue
        ends = sum((Counter(one["by_end"]) for one in figures), Counter())
        rows = sum((Counter(one["by_row"]) for one in figures), Counter())
        spent = sum(part["seconds"][node] for part in parts)
        payments, batches = (sum(one[key] for one in figures) for key in ("payments", "batches"))
        most = max(one["most_mined"] for one in figures)
        off, stranded = (sum(one[key] for one in figures) for key in ("off", "stranded"))
        print(
            f"{node}: {schedules} schedules of {len(rows)} rows (each at least"
            f" {min(rows.values())}), {payments} payments, {batches} batches: "
            + ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
            + f"; mined per payment at most {most}, recipients off by {off}, stranded {stranded};"
            f" {spent / schedules:.3f} s a schedule"
        )
    digests = {int(seed): value for part in parts for seed, value in part["digests"].items()}
    outcomes = {int(seed): value for part in parts for seed, value in part["outcomes"].items()}
    if len(digests) <= 20:
        for seed, digest in sorted(digests.items()):
            print(f"seed {seed}: log {digest}")
    print(f"logs {_over(digests)}, outcomes {_over(outcomes)}; {len(wrong)} wrong: {took:.0f} s")
    return int(bool(wrong))


def _over(digests: dict[int, str]) -> str:
    text = "\n".join(f"{seed} {digest}" for seed, digest in sorted(digests.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]

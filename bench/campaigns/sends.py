"""`./dev campaign sends`: the faults of sending by seed, most on a fake node, a tenth on Anvil.

A seed plays all rows S1 to S28 of the fault matrix one after the other, on a new node and a new
database, in one of four houses: one hot address, three side by side, payments in batches, batches
of two addresses. Where a row has several faults, seeds take turns. Each schedule is one fault over
a few payments, then calm weather. Figures: transactions that paid one payment (1 at most),
recipients off by a unit (0), payments that never ended (0).

On the fake node a seed's log is the same byte for byte: `--replay` plays each seed twice and
compares, `--log FOLDER` keeps the lines. On Anvil the schedule and the outcome are the same.
A full run takes hours: `--keep FILE` keeps what each seed came to, and the same command goes on
where the last one ended.
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
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from chain.testing import AnvilProcess, FakeNode
from wallet import log
from wallet.db import Database
from wallet.migrate import upgrade
from wallet.testing.databases import ScratchCluster
from wallet.testing.send_faults import FAULTS, ROWS, chosen
from wallet.testing.sends import Tally, play
from wallet.testing.stage import HOUSES, ON_ANVIL, OWN_HOUSES, Backup, Stage
from wallet.testing.trace import Trace, counted_ids, counted_seconds

ANVIL_EVERY = 10
"""`--node both`: seeds that end in 0 are played on Anvil."""
TOLD_EVERY = 20
"""Seeds of a process between two lines about how far it is."""
TOLD_LOGS = 20
"""With more seeds only the hash over all their logs is told."""
ROOT = Path(__file__).parents[2]

Record = dict[str, Any]
"""A seed as it was played: a line of `--keep`."""


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


def house_of(seed: int, *, own: bool = False, anvil: bool = False) -> str:
    """Where a seed plays; each house has its turn, also among the seeds that end in 0."""
    names = list(HOUSES)
    if own:
        names = [name for name in OWN_HOUSES if anvil or name not in ON_ANVIL]
    return names[(seed + seed // ANVIL_EVERY) % len(names)]


def plan(seed: int, fault: str | None, *, every_fault: bool) -> list[str]:
    """The faults that a seed plays."""
    if fault:
        return [fault]
    return list(FAULTS) if every_fault else [chosen(row, seed) for row in ROWS]


async def run(cluster: ScratchCluster, options: argparse.Namespace) -> list[Record]:
    """This process's share of the seeds, until one is wrong or time is over."""
    until, code = time.monotonic() + options.minutes * 60, code_of_now()
    done = {record["seed"] for record in kept(options) if not record["wrong"]}
    whole = range(options.seed, options.seed + options.seeds)[options.part :: options.workers]
    share = [seed for seed in whole if seed not in done]
    records: list[Record] = []
    for number, seed in enumerate(share, 1):
        anvil = on_anvil(options, seed)
        names = plan(seed, options.fault, every_fault=options.every_fault)
        file = options.log / f"{seed}.log" if options.log else None
        house = in_house(options, seed)
        played = await play_seed(cluster, seed, names, anvil=anvil, house=house, file=file)
        wrong = list(played.tally.wrong)
        if options.replay and not wrong:
            again = await play_seed(cluster, seed, names, anvil=anvil, house=house)
            if again.tally.digest != played.tally.digest:
                wrong.append(f"seed {seed}: another outcome the second time")
            if not anvil and again.digest != played.digest:
                wrong.append(f"seed {seed}: another log the second time")
        record: Record = {
            "seed": seed, "how": how(options, seed), "code": code, "wrong": wrong,
            "node": "anvil" if anvil else "fake", "seconds": round(played.seconds, 3),
            "log": "" if anvil else played.digest, "outcome": played.tally.digest,
            "figures": played.tally.figures(),
        }  # fmt: skip
        records.append(record)
        if options.keep:
            with options.keep.open("a") as file_kept:
                file_kept.write(json.dumps(record) + "\n")
        if number % TOLD_EVERY == 0:
            _progress(f"{number} of {len(share)} seeds of part {options.part}", records)
        if wrong or time.monotonic() > until:
            break
    return records


def on_anvil(options: argparse.Namespace, seed: int) -> bool:
    """Which node this seed is played on."""
    return options.node == "anvil" or (options.node == "both" and seed % ANVIL_EVERY == 0)


def how(options: argparse.Namespace, seed: int) -> str:
    """What besides its number makes a seed's schedules; one played otherwise is another."""
    faults = options.fault or ("every fault" if options.every_fault else "a fault of each row")
    node = "anvil" if on_anvil(options, seed) else "fake"
    return f"{faults}; {in_house(options, seed)}; {node}"


def in_house(options: argparse.Namespace, seed: int) -> str:
    """Where this seed is played."""
    return options.house or house_of(seed, own=options.own, anvil=on_anvil(options, seed))


def kept(options: argparse.Namespace) -> list[Record]:
    """What earlier runs left in `--keep` of the seeds asked for; [] without one."""
    if not options.keep or not options.keep.exists():
        return []
    wanted = range(options.seed, options.seed + options.seeds)
    records: list[Record] = []
    for line in options.keep.read_text().splitlines():
        with suppress(json.JSONDecodeError):  # half a line of a run that was ended by force
            record = json.loads(line)
            if record["seed"] in wanted and record["how"] == how(options, record["seed"]):
                records.append(record)
    return records


def code_of_now() -> str:
    """The commit that plays, with a plus where files differ from it; "unknown" without git."""
    git = ["git", "-C", str(ROOT)]
    try:
        commit = subprocess.check_output([*git, "rev-parse", "--short", "HEAD"], text=True)
        changed = subprocess.check_output([*git, "status", "--porcelain", "-uno"], text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.strip() + ("+" if changed else "")


def _progress(where: str, records: list[Record]) -> None:
    """A run of an hour that is ended before its time has told something."""
    figures = [record["figures"] for record in records]
    schedules, payments, off, stranded = (
        sum(one[key] for one in figures) for key in ("schedules", "payments", "off", "stranded")
    )
    most = max(one["most_mined"] for one in figures)
    wrong = sum(len(record["wrong"]) for record in records)
    print(
        f"{where}: {schedules} schedules, {payments} payments, mined at most {most}, off by {off},"
        f" stranded {stranded}, {wrong} wrong",
        file=sys.stderr,
        flush=True,
    )


def main(arguments: list[str]) -> int:
    """Run it; 1 with what is wrong and the seed that shows it."""
    options = parser().parse_args(arguments)
    if options.log:
        options.log.mkdir(parents=True, exist_ok=True)
    if options.part is not None:
        print(json.dumps(_part(options)))
        return 0
    began, before = time.monotonic(), kept(options)
    if options.workers > 1:
        played = _side_by_side(arguments, options.workers)
    else:
        options.part = 0
        played = _part(options)
    return _tell(before, played, time.monotonic() - began)


def parser() -> argparse.ArgumentParser:
    """What may be asked for."""
    made = argparse.ArgumentParser(prog="./dev campaign sends", description=__doc__)
    made.add_argument("--seeds", type=int, default=1_000, help="how many (28 schedules each)")
    made.add_argument("--seed", type=int, default=1, help="the first one")
    made.add_argument("--node", choices=("fake", "anvil", "both"), default="both")
    made.add_argument("--fault", choices=sorted(FAULTS), help="only this one")
    made.add_argument("--own", action="store_true", help="houses that move their own coins, too")
    made.add_argument("--house", choices=[*HOUSES, *OWN_HOUSES], help="only in this one")
    made.add_argument("--every-fault", action="store_true", help="all of a row with each seed")
    made.add_argument("--replay", action="store_true", help="each seed twice, and compare")
    made.add_argument("--log", type=Path, help="keep each seed's log in this folder")
    made.add_argument("--workers", type=int, default=1, help="processes side by side")
    made.add_argument("--minutes", type=float, default=1e6, help="then tell what was done")
    made.add_argument(
        "--keep", type=Path, help="keep each seed's figures in this file, and go on where it ends"
    )
    made.add_argument("--part", type=int, help=argparse.SUPPRESS)
    return made


def _part(options: argparse.Namespace) -> list[Record]:
    log.configure("CRITICAL")
    gc.set_threshold(100_000, 50, 100)  # a schedule makes many short-lived objects and no cycles
    cluster = ScratchCluster(durable=False, migrate=upgrade)
    try:
        return uvloop.run(run(cluster, options))
    finally:
        cluster.close()


def _side_by_side(arguments: list[str], workers: int) -> list[Record]:
    command = [sys.executable, "-m", "bench.campaigns", "sends", *arguments]
    running = [
        subprocess.Popen([*command, "--part", str(part)], stdout=subprocess.PIPE, text=True)
        for part in range(workers)
    ]
    answers = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit("a worker of the campaign ended badly")
    return [record for answer in answers for record in json.loads(answer)]


def _tell(before: list[Record], played: list[Record], took: float) -> int:
    """Print what this run and those before it came to; 1 where this one met something wrong."""
    wrong = [line for record in played for line in record["wrong"]]
    for line in wrong:
        print(line)
    right = {record["seed"]: record for record in [*before, *played] if not record["wrong"]}
    for record in before:
        for line in record["wrong"]:
            print(f"earlier, code of {record['code']}: {line}")
    counted = [*right.values(), *(record for record in played if record["wrong"])]
    for node in ("fake", "anvil"):
        figures = [record["figures"] for record in counted if record["node"] == node]
        schedules = sum(one["schedules"] for one in figures)
        if not schedules:
            continue
        ends = sum((Counter(one["by_end"]) for one in figures), Counter())
        rows = sum((Counter(one["by_row"]) for one in figures), Counter())
        spent = sum(record["seconds"] for record in counted if record["node"] == node)
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
        own = sum((Counter(one.get("by_own", {})) for one in figures), Counter())
        if own:
            told = ", ".join(f"{count} {end}" for end, count in sorted(own.items()))
            print(f"{node}, the house's own payments: {told}")
    logs = {record["seed"]: record["log"] for record in counted if record["log"]}
    outcomes = {record["seed"]: record["outcome"] for record in counted}
    if len(logs) <= TOLD_LOGS:
        for seed, digest in sorted(logs.items()):
            print(f"seed {seed}: log {digest}")
    if before:
        codes = Counter(record["code"] for record in counted)
        told = ", ".join(f"{count} by {code}" for code, count in codes.items())
        print(f"{len(counted)} seeds: {told}; {len(played)} of them now")
    print(f"logs {_over(logs)}, outcomes {_over(outcomes)}; {len(wrong)} wrong: {took:.0f} s")
    return int(bool(wrong))


def _over(digests: dict[int, str]) -> str:
    text = "\n".join(f"{seed} {digest}" for seed, digest in sorted(digests.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]

"""`./dev campaign kill`: `kill -9` of API, worker, signer, PostgreSQL and Anvil under load.

A temporary sandbox, as `./dev run` starts it. People transfer, withdraw, pay abroad and deposit all
the while; every few seconds one process dies by SIGKILL, all five kinds in each round, in an order
of the seed's. Figures: seconds from the new process to a readiness that stays (5 at most), seconds
from the last restart to the end of all work (60 at most), and `bifold reconcile` in the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from bench.campaigns.bank_house import ROOT, children_of
from bench.campaigns.kill_load import People
from bench.campaigns.stops import Stops
from wallet.sandbox.ready import ask_ready
from wallet.sandbox.temporary import TemporarySandbox

VICTIMS = {
    "api": ("wallet.cli serve", "api.server"),
    "worker": ("wallet.cli worker",),
    "signer": (" signer ",),
    "postgres": ("/postgres -D",),
    "chain": ("/anvil ",),
}
"""Name → what its command line holds. Children of the supervisor, found anew before each kill."""
HEALTHY_SECONDS = 5.0
TERMINAL_SECONDS = 60.0
RESTART_SECONDS = 40.0  # a child that keeps dying is started again slower and slower, up to 15 s
STEADY_SECONDS = 2.5  # readiness counts once it has held this long: a report is at most 2 s old
POLL_SECONDS = 0.05


@dataclass
class Death:
    """One kill: seconds to the new process, and from there to a readiness that stays; how many of
    these the new process had a processor."""

    victim: str
    restart_seconds: float
    healthy_seconds: float
    processor_seconds: float


@dataclass
class Fire:
    """What happened, and how much longer than promised anything may take here."""

    patience: float = 1.0
    stops: Stops = field(default_factory=Stops)
    deaths: list[Death] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def victims(supervisor: int) -> dict[str, int]:
    """Name → process id of the sandbox's live children."""
    found = {}
    for pid in children_of(supervisor):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                command = file.read().replace(b"\0", b" ").decode()
        except OSError:
            continue
        for name, marks in VICTIMS.items():
            if any(mark in command for mark in marks):
                found[name] = pid
    return found


def processor_seconds(pid: int | None) -> float:
    """What a process has used; 0 of one that is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def too_late(fire: Fire, began: float) -> bool:
    """Whether it is given up, in time that did not stand still."""
    limit = RESTART_SECONDS * fire.patience
    if time.monotonic() - began <= limit:
        return False
    return time.monotonic() - began - await fire.stops.noted_since(began) > limit


async def kill_one(sandbox: TemporarySandbox, name: str, fire: Fire) -> None:
    """Kill it, wait for its successor, then for a readiness that stays."""
    assert sandbox.process is not None
    supervisor = sandbox.process.pid
    old = victims(supervisor).get(name)
    if old is None:
        fire.wrong.append(f"{name} was not running")
        return
    os.kill(old, signal.SIGKILL)
    killed = time.monotonic()
    while victims(supervisor).get(name) in (None, old):
        if await too_late(fire, killed):
            fire.wrong.append(f"{name} was not started again")
            return
        await asyncio.sleep(POLL_SECONDS)
    started = time.monotonic()
    new = victims(supervisor).get(name)
    since: float | None = None
    used = 0.0
    words = ""
    while since is None or time.monotonic() - since < STEADY_SECONDS:
        ready, words = await asyncio.to_thread(ask_ready, "127.0.0.1", sandbox.port)
        if not ready:
            since = None
        elif since is None:
            since = time.monotonic()
            used = processor_seconds(new)
        if await too_late(fire, started):
            fire.wrong.append(f"not healthy after the death of {name}: {words[:200]}")
            return
        await asyncio.sleep(POLL_SECONDS)
    stood = fire.stops.since(started) - fire.stops.since(since)
    healthy = since - started - stood
    fire.deaths.append(Death(name, started - killed, healthy, used))
    if healthy > HEALTHY_SECONDS * fire.patience:
        fire.wrong.append(
            f"{name}: healthy {healthy:.1f} s after its restart, of which it ran for {used:.1f} s;"
            f" load {os.getloadavg()[0]:.1f}"
        )


def order(kills: int, seed: int) -> list[str]:
    """Whom to kill: every kind once in each round of five."""
    chance = random.Random(seed)
    chosen: list[str] = []
    while len(chosen) < kills:
        chosen += chance.sample(sorted(VICTIMS), len(VICTIMS))
    return chosen[:kills]


async def burn(
    sandbox: TemporarySandbox, *, kills: int, seed: int, errands: int, patience: float
) -> dict[str, Any]:
    """The load and the kills; then quiet, until all work has ended."""
    fire = Fire(patience)
    with fire.stops:
        return await _burn(sandbox, fire, kills=kills, seed=seed, errands=errands)


async def _burn(
    sandbox: TemporarySandbox, fire: Fire, *, kills: int, seed: int, errands: int
) -> dict[str, Any]:
    people = People(sandbox.url, seed)
    await people.settle()
    quiet = asyncio.Event()
    load = [asyncio.create_task(people.errands(n, quiet)) for n in range(errands)]
    chance = random.Random(seed)
    began = time.monotonic()
    for name in order(kills, seed):
        await asyncio.sleep(chance.uniform(0.2, 1.5))
        await kill_one(sandbox, name, fire)
        for task in load:
            if task.done():
                task.result()
    last = time.monotonic()
    quiet.set()
    limit = TERMINAL_SECONDS * fire.patience
    _, late = await asyncio.wait(load, timeout=limit)
    if late and (stood := fire.stops.since(last)):
        _, late = await asyncio.wait(load, timeout=stood)
    ended = time.monotonic() - last - fire.stops.since(last)
    for task in late:
        task.cancel()
    await asyncio.gather(*load, return_exceptions=True)
    fire.wrong += [f"not at its end after {limit:.0f} s: {one}" for one in people.open()]
    fire.wrong += people.wrong
    if kills and not people.done:
        fire.wrong.append("no work was done")
    report = await asyncio.to_thread(reconcile, sandbox)
    if not report["balanced"]:
        fire.wrong.append(f"reconcile: {json.dumps(report)[:1500]}")
    await people.aclose()
    return {
        "wrong": fire.wrong,
        "deaths": fire.deaths,
        "work": dict(Counter(f"{one.kind} {one.status}" for one in people.done)),
        "longest": max((one.seconds for one in people.done), default=0.0),
        "after_the_last": ended,
        "balanced": report["balanced"],
        "seconds": time.monotonic() - began,
        "stood_still": fire.stops.since(began),
    }


def reconcile(sandbox: TemporarySandbox) -> dict[str, Any]:
    """`bifold reconcile` on the running sandbox."""
    ran = subprocess.run(
        [sys.executable, "-m", "wallet.cli", "reconcile", "--json"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "BIFOLD_DATA_DIR": str(sandbox.data_dir)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if not ran.stdout.strip():
        raise RuntimeError(f"reconcile said nothing: {ran.stderr[-1000:]}")
    report: dict[str, Any] = json.loads(ran.stdout)
    return report


def measure(
    *, kills: int, seed: int = 1, errands: int = 6, patience: float = 1.0
) -> dict[str, Any]:
    """On a sandbox of its own; see `burn`. `patience` stretches the limits on a busy machine."""
    with TemporarySandbox() as sandbox:
        return asyncio.run(
            burn(sandbox, kills=kills, seed=seed, errands=errands, patience=patience)
        )


def main(arguments: list[str]) -> int:
    """Run it; 1 with what is wrong."""
    parser = argparse.ArgumentParser(prog="./dev campaign kill", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--errands", type=int, default=6, help="under way at a time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--patience", type=float, default=1.0, help="times the limits, where others work beside it"
    )
    figures = measure(**vars(parser.parse_args(arguments)))
    for line in figures["wrong"]:
        print(line)
    for name in VICTIMS:
        mine = [one for one in figures["deaths"] if one.victim == name]
        if mine:
            restarts = [one.restart_seconds for one in mine]
            healthy = [one.healthy_seconds for one in mine]
            print(
                f"{name}: {len(mine)} kills, started again after {statistics.median(restarts):.1f}"
                f" s (at most {max(restarts):.1f}), healthy {statistics.median(healthy):.1f} s"
                f" later (at most {max(healthy):.1f}; it ran for"
                f" {statistics.median(one.processor_seconds for one in mine):.1f} s of these),"
                f" {sum(one > HEALTHY_SECONDS for one in healthy)} beyond {HEALTHY_SECONDS:.0f} s"
            )
    work = ", ".join(f"{count} {kind}" for kind, count in sorted(figures["work"].items()))
    print(f"work: {work}; the longest {figures['longest']:.1f} s")
    print(
        f"{len(figures['deaths'])} kills in {figures['seconds']:.0f} s; all work ended"
        f" {figures['after_the_last']:.1f} s after the last; reconcile"
        f" {'balanced' if figures['balanced'] else 'OFF'}; {len(figures['wrong'])} wrong; the"
        f" machine stood still for {figures['stood_still']:.0f} s (not counted)"
    )
    return int(bool(figures["wrong"]))

"""`./dev campaign bank`: payments over HTTP while PostgreSQL is killed, and the book is read whole.

50 people with an account in each of three assets, 64 clients on two `bifold serve` processes, until
`--transfers` payments are acknowledged; meanwhile readers take the whole book in REPEATABLE READ,
and the database dies `--kills` times by SIGKILL, in turn whole, by its postmaster, by one backend.
Figures: reads that were off zero (0), balances below zero (0), acknowledged payments that are lost
(0), payments that are there by half, twice, or though they were refused (0).
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any

import uvloop

from bench.campaigns.bank_house import Bank, opened
from bench.campaigns.bank_load import Reads, Told, judge, read_books, settle_open, stream
from wallet import log
from wallet.testing.databases import ScratchCluster

KILLS = ("whole", "postmaster", "backend")
READERS = 2
WATCH_SECONDS = 0.02


def _due(told: Told, acknowledged: int, load: list[asyncio.Task[None]]) -> bool:
    return len(told.acknowledged) >= acknowledged or all(task.done() for task in load)


async def set_on_fire(
    bank: Bank, *, transfers: int, kills: int, clients: int, seed: int
) -> dict[str, Any]:
    """The load, the kills and the readers; then the verdict. `wrong` is empty when all is well."""
    told, reads, ended = Told(), Reads(), asyncio.Event()
    readers = [asyncio.create_task(read_books(bank, reads, ended)) for _ in range(READERS)]
    began = time.monotonic()
    load = [
        asyncio.create_task(stream(bank, n, told, transfers=transfers, seed=seed))
        for n in range(clients)
    ]
    away: list[float] = []
    try:
        for number in range(kills):
            due = transfers * (number + 1) // (kills + 1)
            while not _due(told, due, load):  # noqa: ASYNC110 - counts what 64 tasks do
                await asyncio.sleep(WATCH_SECONDS)
            away.append(await bank.kill_database(KILLS[number % len(KILLS)]))
        await asyncio.gather(*load)
    finally:
        for task in load:
            task.cancel()
        ended.set()
        await asyncio.gather(*readers)
    seconds = time.monotonic() - began
    first = judge(bank, told)
    asked_again = await settle_open(bank, told, seed)
    last = judge(bank, told)
    wrong = [*first["wrong"], *last["wrong"]]
    if last["open"]:
        wrong.append(f"{last['open']} payments are still open")
    if not reads.done:
        wrong.append("nobody read the book")
    bad_reads = {
        "off_zero": reads.off_zero,
        "negative": reads.negative,
        "not_their_postings": reads.not_their_postings,
        "shrank": reads.shrank,
    }
    wrong += [f"{count} reads: {name}" for name, count in bad_reads.items() if count]
    return {
        "wrong": wrong,
        "first": first,
        "last": last,
        "reads": {"done": reads.done, "cut_off": reads.lost} | bad_reads,
        "asked_again": asked_again,
        "troubles": told.troubles,
        "repeats": told.repeats,
        "codes": dict(sorted(told.codes.items())),
        "kills": len(away),
        "away_seconds": [round(value, 2) for value in away],
        "seconds": round(seconds, 1),
        "per_second": round(first["acknowledged"] / seconds),
    }


def measure(
    *,
    transfers: int,
    kills: int,
    people: int = 50,
    clients: int = 64,
    seed: int = 1,
    shared: ScratchCluster | None = None,
) -> dict[str, Any]:
    """A bank of its own, set on fire; see `set_on_fire`. `shared`: on this durable cluster."""
    with opened(people=people, seed=seed, shared=shared) as bank:
        return uvloop.run(
            set_on_fire(bank, transfers=transfers, kills=kills, clients=clients, seed=seed)
        )


def main(arguments: list[str]) -> int:
    """Run it; 1 with what is wrong."""
    parser = argparse.ArgumentParser(prog="./dev campaign bank", description=__doc__)
    parser.add_argument("--transfers", type=int, default=50_000, help="acknowledged, all in all")
    parser.add_argument("--kills", type=int, default=5, help="of the database")
    parser.add_argument("--people", type=int, default=50, help="each with three accounts")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    log.configure("CRITICAL")
    figures = measure(**vars(options))
    for line in figures["wrong"][:20]:
        print(line)
    first, last, reads = figures["first"], figures["last"], figures["reads"]
    print(
        f"{first['acknowledged']} payments acknowledged by {options.clients} clients in"
        f" {figures['seconds']:.0f} s ({figures['per_second']}/s), {first['refused']} refused for"
        f" lack of money, {figures['kills']} database kills (away"
        f" {', '.join(map(str, figures['away_seconds']))} s), {figures['troubles']} times no answer"
    )
    print(
        f"acknowledged and lost {first['acknowledged_and_lost']}; {figures['repeats']} were"
        f" acknowledged when asked again; left open {first['open']}, of them in the books"
        f" {first['open_and_there']}, half {first['half']} of {first['in_the_books']}"
    )
    print(
        f"whole-book reads {reads['done']} ({reads['cut_off']} cut off): off zero"
        f" {reads['off_zero']}, balances below zero {reads['negative']}, balances other than their"
        f" postings {reads['not_their_postings']}"
    )
    print(
        f"after asking again for the {figures['asked_again']} left open: {last['acknowledged']}"
        f" acknowledged, {last['in_the_books']} in the books, {last['open']} open;"
        f" {len(figures['wrong'])} wrong"
    )
    return int(bool(figures["wrong"]))

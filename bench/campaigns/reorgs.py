"""`./dev campaign reorgs [--depths 1-64]`: deposits under reorganisations, to the wei.

On a network whose blocks are final at depth 70: every depth × ETH and ERC-20 × four moments (before
anything was seen, seen once, half confirmed, followed to the head), each with the transaction mined
again on the new fork and with it gone. What is credited in the end must be what the chain holds.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chain.lanes import split
from chain.rpc import JsonRpc
from chain.testing import AnvilProcess
from wallet import log
from wallet.db import Database
from wallet.migrate import upgrade
from wallet.testing.databases import ScratchCluster
from wallet.testing.seam import Seam

FINALITY = 70
MAX_DEPTH = 64
KEEP_STATES = 256
MOMENTS = ("unseen", "seen", "half", "followed")
ASSETS = ("ETH", "USDC")
AMOUNT = {"ETH": "0.000000000000000777", "USDC": "0.000777"}
BATCH = 8
DEPTHS_A_CHAIN = 4
"""Then a new chain and new books: Anvil grows slow over thousands of blocks."""
NODE_SECONDS = 60.0  # it may mine seventy blocks beside much other work


@dataclass(frozen=True, slots=True)
class Case:
    """One deposit and what happens to it."""

    depth: int
    asset: str
    moment: str
    returns: bool

    def __str__(self) -> str:
        end = "mined again" if self.returns else "gone"
        return f"depth {self.depth}, {self.asset}, {self.moment}, {end}"


def cases(depths: Sequence[int]) -> list[Case]:
    """All of them."""
    return [
        Case(depth, asset, moment, returns)
        for depth in depths
        for asset in ASSETS
        for moment in MOMENTS
        for returns in (True, False)
    ]


async def play(seam: Seam, case: Case) -> str:
    """One case to its reorganisation and the new fork; who it was for."""
    person = await seam.person()
    address = await seam.address(person)
    await seam.pass_once()
    mined = await seam.pay_in(address, AMOUNT[case.asset], case.asset)
    raw = await seam.node("eth_getRawTransactionByHash", mined.tx_hash)
    if case.moment != "unseen":
        await seam.scanner.tick()
    half = (case.depth - 1) // 2
    for blocks in (half, case.depth - 1 - half):
        if blocks:
            await seam.dev.mine(blocks)
        if case.moment == "followed" or (case.moment == "half" and blocks == half):
            await seam.pass_once()
    await seam.dev.reorg(case.depth)
    await seam.pass_once()
    if case.returns:
        await seam.node("eth_sendRawTransaction", raw)
        await seam.dev.wait_mined(mined.tx_hash)
    await seam.pass_once()
    return person


async def settle(seam: Seam) -> None:
    """Everything that can be final is."""
    await seam.dev.mine(FINALITY)
    for _ in range(3):
        await seam.pass_once()


async def off_by(seam: Seam, case: Case, person: str) -> int:
    """Smallest units between what was credited and what the chain holds for this person."""
    wanted = seam.money(AMOUNT[case.asset], case.asset).minor if case.returns else 0
    return (await seam.balance(person, case.asset)).total_minor - wanted


async def run(seam: Seam, chosen: list[Case]) -> list[str]:
    """Play them in small groups; one line for each that is off."""
    wrong: list[str] = []
    for first in range(0, len(chosen), BATCH):
        played = [(case, await play(seam, case)) for case in chosen[first : first + BATCH]]
        await settle(seam)
        for case, person in played:
            if off := await off_by(seam, case, person):
                wrong.append(f"{case}: off by {off}")
        wrong += await seam.differences()
        halted = await seam.rows("SELECT halted_reason FROM network_state")
        wrong += [f"halted: {row.halted_reason}" for row in halted if row.halted_reason]
        if wrong:
            break
    return wrong


async def deeper_halts(seam: Seam) -> list[str]:
    """Beyond finality: the network stops, by name, and nobody is debited silently."""
    person = await seam.person()
    await seam.pay_in(await seam.address(person), AMOUNT["ETH"], "ETH")
    await settle(seam)
    before = (await seam.balance(person, "ETH")).total_minor
    await seam.dev.reorg(FINALITY + 5)
    await seam.dev.mine(FINALITY + 10)
    await seam.pass_once()
    [row] = await seam.rows("SELECT halted_reason FROM network_state")
    after = (await seam.balance(person, "ETH")).total_minor
    if row.halted_reason is None or "reorganised" not in row.halted_reason or after != before:
        return [f"beyond finality: halted {row.halted_reason!r}, balance {before} to {after}"]
    return []


async def campaign(database_url: str, folder: Path, depths: Sequence[int]) -> list[str]:
    """All cases of these depths on one Anvil and one database; what was off."""
    process = AnvilProcess(keep_states=KEEP_STATES)
    process.start()
    db = Database(database_url)
    try:
        seam = await Seam.open(
            db, process.url, folder / "signer", confirmations=FINALITY,
            transport=lambda: JsonRpc(process.url, timeout_seconds=NODE_SECONDS),
        )  # fmt: skip
        wrong = await run(seam, cases(depths)) or await deeper_halts(seam)
        await seam.close()
        return wrong
    finally:
        await db.dispose()
        process.stop()


def main(arguments: list[str]) -> int:
    """Run it; 1 with a line for each case that is off."""
    parser = argparse.ArgumentParser(prog="./dev campaign reorgs", description=__doc__)
    parser.add_argument("--depths", default=f"1-{MAX_DEPTH}", help="like 1-64, or 7")
    first, _, last = parser.parse_args(arguments).depths.partition("-")
    depths = list(range(int(first), int(last or first) + 1))
    if not depths or depths[0] < 1 or depths[-1] > MAX_DEPTH:
        parser.error(f"depths lie between 1 and {MAX_DEPTH}")
    log.configure("ERROR")
    cluster = ScratchCluster(durable=False, migrate=upgrade)
    began = time.monotonic()
    count, halted = 0, 0
    wrong: list[str] = []
    try:
        for part in split(depths, DEPTHS_A_CHAIN):
            with tempfile.TemporaryDirectory(prefix="bifold-reorgs-") as folder:
                wrong += asyncio.run(campaign(cluster.create().app_url, Path(folder), part))
            count, halted = count + len(cases(part)), halted + 1
            print(f"depths to {part[-1]}: {count} played, {len(wrong)} off", file=sys.stderr)
    finally:
        cluster.close()
    for line in wrong:
        print(line)
    took = time.monotonic() - began
    print(f"{count} reorganisations of depth {depths[0]} to {depths[-1]}, "
          f"{len(wrong)} off; {halted} beyond finality, each halted: {took:.0f} s")  # fmt: skip
    return int(bool(wrong))

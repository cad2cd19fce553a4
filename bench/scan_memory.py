"""Memory of the scanner over 5,000 blocks: the worker's own `Scanner` on a real database and Anvil.

Every block holds a transaction with `LOGS` token transfers to a stranger; every fifth a deposit of
one of ours, coins and tokens in turn, which is seen, confirmed and credited on the way. Blocks are
made and scanned in steps; after each step the objects that are garbage are collected and three
figures are taken: resident memory, memory blocks that Python has allocated, and Anvil is left out
(a process of its own). Flat means: after the first steps, which fill caches and pools, the line
through the rest does not rise.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from chain.address import to_checksum
from chain.testing import AnvilProcess
from contracts.loader import artifact
from wallet import log
from wallet.db import Database
from wallet.migrate import upgrade
from wallet.testing.databases import ScratchCluster
from wallet.testing.seam import Seam

BLOCKS = 5_000
STEP = 500
WARM = 2  # steps
LOGS = 10
PEOPLE = 10
DEPOSIT_EVERY = 5
PAGE = 4096
STRANGER = "0x00000000000000000000000000000000DeaDBeef"


@dataclass(frozen=True)
class Sample:
    """After so many blocks."""

    blocks: int
    resident_kib: int
    allocated: int  # memory blocks, whatever their size


def measure(*, rounds: int, seconds: float, blocks: int = BLOCKS) -> dict[str, Any]:
    """Samples and slopes. `rounds` and `seconds` are not used."""
    log.configure("ERROR")
    cluster = ScratchCluster(durable=False, migrate=upgrade)
    try:
        with tempfile.TemporaryDirectory(prefix="bifold-bench-") as folder:
            url = cluster.create().app_url
            samples = asyncio.run(_measure(url, Path(folder), blocks))
    finally:
        cluster.close()
    warm = samples[WARM:]
    first, last = warm[0], warm[-1]
    return {
        "blocks": samples[-1].blocks,
        "MiB resident, each step": [round(sample.resident_kib / 1024, 1) for sample in samples],
        "memory blocks allocated, each step": [sample.allocated for sample in samples],
        "slope (KiB per 1,000 blocks)": round(
            1000 * slope([(s.blocks, s.resident_kib) for s in warm]), 1
        ),
        "slope (memory blocks per block scanned)": round(
            slope([(s.blocks, s.allocated) for s in warm]), 2
        ),
        "grown from first to last warm step (%)": round(
            100 * (last.resident_kib / first.resident_kib - 1), 2
        ),
    }


async def _measure(url: str, folder: Path, blocks: int) -> list[Sample]:
    process = AnvilProcess()
    process.start()
    db = Database(url)
    try:
        seam = await Seam.open(db, process.url, folder / "signer")
        samples = await scan(seam, blocks=blocks, step=STEP)
        await seam.close()
        return samples
    finally:
        await db.dispose()
        process.stop()


async def scan(seam: Seam, *, blocks: int, step: int) -> list[Sample]:
    """Make and scan `blocks` blocks, `step` at a time; a sample after each step.

    Raises RuntimeError when the scanner did not get there, or something was not credited.
    """
    people = [await seam.person() for _ in range(PEOPLE)]
    addresses = [await seam.address(person) for person in people]
    sprayer = await seam.dev.deploy(artifact("ManyTransfers"))
    await seam.pay_in(sprayer, "1000000", "USDC")
    await seam.pass_once()
    before = await _credited(seam)
    await seam.node("evm_setAutomine", False)
    samples: list[Sample] = []
    deposits = 0
    for done in range(step, blocks + 1, step):
        for number in range(step):
            await _spray(seam, sprayer)
            if number % DEPOSIT_EVERY == 0:
                await _deposit(seam, addresses[deposits % PEOPLE], token=deposits % 2 == 1)
                deposits += 1
            await seam.node("anvil_mine", "0x1")
        await seam.observer.tick()
        await seam.scanner.tick()
        gc.collect()
        samples.append(Sample(done, _resident_kib(), sys.getallocatedblocks()))
    await seam.node("anvil_mine", hex(2 * seam.network.confirmations))
    for _ in range(1 + deposits // 500):
        await seam.pass_once()
    credited = await _credited(seam) - before
    if credited != deposits:
        raise RuntimeError(f"{deposits} deposits were made, {credited} credited")
    return samples


async def _credited(seam: Seam) -> int:
    [row] = await seam.rows("SELECT count(*) AS n FROM deposits WHERE status = 'credited'")
    return int(row.n)


async def _spray(seam: Seam, sprayer: str) -> None:
    data = bytes(keccak(text="spray(address,address,uint256,uint256)")[:4]) + encode(
        ["address", "address", "uint256", "uint256"],
        [seam.network.tokens[0].contract, to_checksum(STRANGER.lower()), 7, LOGS],
    )
    await seam.dev.call_contract(sprayer, data, gas=1_000_000)


async def _deposit(seam: Seam, address: str, *, token: bool) -> None:
    if token:
        await seam.dev.send_token(seam.network.tokens[0].contract, address, 1_000_000)
    else:
        await seam.dev.send_native(address, 10**15)


def slope(points: list[tuple[int, int]]) -> float:
    """Of the straight line nearest to them."""
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def _resident_kib() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE // 1024

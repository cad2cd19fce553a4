"""What the supervisor does for as long as it runs. Each loop outlives the errors of its partner:
the database or the node may be away for a moment, and the loop tries again at its next turn.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

import psycopg

from wallet.postgres import EmbeddedPostgres, PostgresError
from wallet.sandbox.anvil import Anvil
from wallet.sandbox.children import Child
from wallet.sandbox.database import HouseDatabase
from wallet.sandbox.node import NodeError

SNAPSHOT_POLL_SECONDS = 0.2
BLOCK_SECONDS = 1.0
REPORT_SECONDS = 2.0
DATABASE_POLL_SECONDS = 0.1

log = logging.getLogger(__name__)


async def keep_database(server: EmbeddedPostgres) -> None:
    """Start PostgreSQL again whenever it ended; it recovers by itself."""
    while True:
        await asyncio.sleep(DATABASE_POLL_SECONDS)
        if server.alive():
            continue
        log.warning("postgres ended and is started again")
        try:
            await asyncio.to_thread(server.prepare)
            server.launch()  # on the main thread, which lives as long as it should
            await asyncio.to_thread(server.wait_ready)
        except PostgresError as error:
            log.error("postgres: %s", error)


async def record_height(anvil: Anvil, database: HouseDatabase) -> None:
    """Tell the books how much of the chain would survive the node's death.

    Tried until it is told: a height that is too high would let lost blocks become final.
    """
    while True:
        try:
            await asyncio.to_thread(
                database.record_snapshot, anvil.newest_height(), anvil.newest_hash()
            )
        except psycopg.Error as error:
            log.warning("height of the snapshot: %s", error)
            await asyncio.sleep(SNAPSHOT_POLL_SECONDS)
        else:
            return


async def keep_snapshots(anvil: Anvil, stored: Callable[[], Awaitable[None]]) -> None:
    """Store each change of the chain; never spend more than half the time on it."""
    while True:
        began = time.monotonic()
        try:
            if await anvil.store_if_changed():
                await stored()
        except (NodeError, OSError) as error:
            log.warning("snapshot: %s", error)
        await asyncio.sleep(max(SNAPSHOT_POLL_SECONDS, time.monotonic() - began))


async def keep_mining(anvil: Anvil, database: HouseDatabase) -> None:
    """One block a second while anything waits for confirmations; none on an idle chain."""
    while True:
        await asyncio.sleep(BLOCK_SECONDS)
        try:
            if await asyncio.to_thread(database.waiting_for_blocks):
                await asyncio.to_thread(anvil.node.call, "evm_mine")
        except (NodeError, psycopg.Error) as error:
            log.warning("miner: %s", error)


async def keep_reporting(database: HouseDatabase, processes: Callable[[], Sequence[Child]]) -> None:
    """Write what /readyz should know of the processes; a dead one is named within seconds."""
    while True:
        try:
            for child in processes():
                await asyncio.to_thread(
                    database.record_process, child.name, healthy=child.healthy, detail=child.state
                )
        except psycopg.Error as error:
            log.warning("report: %s", error)
        await asyncio.sleep(REPORT_SECONDS)

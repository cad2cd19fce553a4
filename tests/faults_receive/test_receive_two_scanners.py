"""D22 of the fault matrix: two scanners at once, as two real processes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from tests.faults_receive.conftest import Inbox
from tests.rivals import Rival, behind, rivals, together
from wallet.testing.pace import patience

USDC = 10**6
SCAN = ("observe.local", "scan.local")
LED_SECONDS = 15.0


async def credited_once(inbox: Inbox, deposits: int) -> None:
    """So many deposits of 1 USDC: one row, one entry, one credit each; books equal the chain."""
    seam = inbox.seam
    assert await inbox.rows() == [("USDC", "credited", USDC, None)] * deposits
    entries = await seam.rows(
        "SELECT count(*) AS n FROM entries WHERE kind = 'deposit' AND ref IN"
        " (SELECT id FROM deposits WHERE principal_id IS NOT NULL)"
    )
    assert entries[0].n == deposits
    assert await inbox.total("USDC") == deposits * USDC
    assert await inbox.gaps() == 0 and await seam.differences() == []


async def paid_and_final(inbox: Inbox, deposits: int = 1) -> None:
    """So many deposits that are final for who reads them now."""
    for _ in range(deposits):
        await inbox.seam.pay_in(inbox.address, "1", "USDC")
    await inbox.seam.dev.mine(inbox.seam.network.confirmations)


async def until_total(inbox: Inbox, minor: int) -> None:
    end = time.monotonic() + patience(LED_SECONDS)
    while await inbox.total("USDC") < minor:
        assert time.monotonic() < end, await inbox.rows()
        await asyncio.sleep(0.1)


async def test_d22_one_of_two_workers_scans_and_the_other_after_its_death(
    inbox: Inbox, tmp_path: Path
) -> None:
    async with rivals(inbox.seam, tmp_path / "rivals") as pair:
        for rival in pair:
            rival.tell(do="lead", loops=SCAN)
        for rival in pair:
            await rival.told()
        await paid_and_final(inbox, 2)
        await until_total(inbox, 2 * USDC)
        ticks = [(await rival.look())["tick.scan.local"] for rival in pair]
        assert sorted(tick > 0 for tick in ticks) == [False, True]  # one owner of the lease
        leader, other = pair if ticks[0] else pair[::-1]
        await leader.kill()
        await paid_and_final(inbox)
        await until_total(inbox, 3 * USDC)
        assert (await other.look())["tick.scan.local"] > 0
    await inbox.seam.finish()
    await credited_once(inbox, 3)


async def test_d22_two_that_read_the_same_blocks_store_them_once(
    inbox: Inbox, tmp_path: Path
) -> None:
    """No lease between them: both have the block and what it brought in hand, and go on at once."""
    async with rivals(inbox.seam, tmp_path / "rivals") as pair:
        for number in range(1, 4):
            await paid_and_final(inbox)
            assert None not in await together(pair, *SCAN, meet="scanner.before_block")
            for rival in pair:  # one of them may have found nothing left to do
                await rival.play(*SCAN)
            assert await inbox.total("USDC") == number * USDC
        await _stored_once(inbox, pair)
    await inbox.seam.finish()
    await credited_once(inbox, 3)


async def _stored_once(inbox: Inbox, pair: list[Rival]) -> None:
    stored = [(await rival.look())["scanner.before_commit_block"] for rival in pair]
    [begun] = await inbox.seam.rows(
        "SELECT tip_number, tip_number - started_at_block AS blocks FROM scan_state"
    )
    assert 0 < sum(stored) <= begun.blocks


async def test_d22_one_comes_in_the_middle_of_the_other_s_transaction(
    inbox: Inbox, tmp_path: Path
) -> None:
    """Of that which stores the block, says what is final, credits: the second waits for it."""
    points = ("scanner.before_commit_block", "scanner.before_commit_final",
              "deposit.before_commit_credited")  # fmt: skip
    async with rivals(inbox.seam, tmp_path / "rivals") as pair:
        for number, point in enumerate(points, 1):
            await paid_and_final(inbox)
            assert await behind(inbox.seam, pair, *SCAN, at=point), point
            for rival in pair:
                await rival.play(*SCAN)
            await credited_once(inbox, number)


async def test_d22_the_unique_key_holds_alone(inbox: Inbox, tmp_path: Path) -> None:
    """Not even the scanner's place is compared: the same log of the same block is one row."""
    seam = inbox.seam
    async with rivals(seam, tmp_path / "rivals", without=["place"]) as pair:
        await paid_and_final(inbox, 2)
        assert None not in await together(pair, *SCAN, meet="scanner.before_block")
        stored = [(await rival.look())["scanner.after_commit_block"] for rival in pair]
        assert min(stored) > 0  # both have committed the blocks
    assert [row[:2] for row in await inbox.rows()] == [("USDC", "seen")] * 2
    await seam.finish()
    await credited_once(inbox, 2)
    with pytest.raises(IntegrityError, match="deposits_place_key"):
        async with seam.db.transaction() as session:
            await session.execute(
                text(
                    "INSERT INTO deposits (id, network, block_hash, block_number, block_time,"
                    " tx_hash, log_index, trace_path, asset, contract, from_address, to_address,"
                    " amount_minor, principal_id, status) SELECT 'dep_again', network, block_hash,"
                    " block_number, block_time, tx_hash, log_index, trace_path, asset, contract,"
                    " from_address, to_address, amount_minor, principal_id, 'seen' FROM deposits"
                    " WHERE principal_id IS NOT NULL LIMIT 1"
                )
            )

"""S10 and S11 of the fault matrix: two workers by mistake, as two real processes with a barrier."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from tests.faults_send.conftest import Case
from tests.rivals import Rival, behind, rivals, together
from wallet.testing.pace import patience
from wallet.withdrawals import Withdrawal

ETH = 10**18
SEND = "send.local"
PASS = ("observe.local", SEND)  # a word about the network is fresh for 15 s only
PAYMENTS = 8
SENT_SECONDS = 15.0


async def mined_once(case: Case, made: Sequence[Withdrawal], minor: int) -> None:
    """Each is settled by one transaction of its own; nonces without a gap; recipients exact."""
    await case.finish()
    for one in made:
        done = await case.now(one)
        assert (done.status, len(done.attempts)) == ("settled", 1)
    attempts = await case.fields()
    assert [(kind, tx.nonce) for kind, tx, _ in attempts] == [("pay", n) for n in range(len(made))]
    [hot] = await case.seam.signer.hot_addresses()
    assert int(str(await case.seam.node("eth_getTransactionCount", hot, "latest")), 16) == len(made)
    assert await case.paid() == minor
    assert await case.seam.differences() == []


async def queued(case: Case) -> Withdrawal:
    """A payment that nobody has looked at yet."""
    await case.seam.observer.tick()
    return await case.withdraw("0.25")


async def passed(pair: Sequence[Rival], point: str) -> list[int]:
    return [(await rival.look())[point] for rival in pair]


async def test_s10_one_wins_the_row_and_the_other_sees_it_in_progress(
    case: Case, tmp_path: Path
) -> None:
    """By the lease of the address: the second passes nothing of this intent while the first is in
    the middle of it, before its nonce is committed, before its bytes are, before they are sent."""
    made = []
    async with rivals(case.seam, tmp_path / "rivals") as (first, second):
        for point in ("intent.before_commit_allocated", "intent.before_commit_signed",
                      "intent.before_send"):  # fmt: skip
            made.append(await queued(case))
            assert not await behind(case.seam, (first, second), *PASS, at=point), point
            assert not [name for name in second.seen if name.startswith("intent.")]
        assert first.seen["intent.after_commit_sent"] == 3
    await mined_once(case, made, 3 * ETH // 4)


async def test_s10_without_the_lease_the_row_decides(case: Case, tmp_path: Path) -> None:
    """Both have found the intent in the queue and take it at once; then one is kept waiting by the
    other's transaction. What both sign is the same, and one of it is mined."""
    await case.seam.automine(False)
    async with rivals(case.seam, tmp_path / "rivals", without=["signer"]) as pair:
        made = [await queued(case)]
        assert None not in await together(pair, *PASS, meet="intent.before_allocate")
        assert sum(await passed(pair, "intent.after_commit_sent")) > 0
        for point in ("intent.before_commit_allocated", "intent.before_commit_sent"):
            made.append(await queued(case))
            assert await behind(case.seam, pair, *PASS, at=point), point
        made.append(await queued(case))
        first, second = pair
        first.tell(do="pass", loops=PASS, meet="intent.before_sign")
        assert (await first.told())["at"] == "intent.before_sign"
        assert None not in await together([second], *PASS, meet="intent.before_send")
        first.tell()  # signs what the other has signed and sent meanwhile
        await first.told()
    await mined_once(case, made, ETH)


async def test_s11_two_workers_leave_no_gap_in_the_nonces(case: Case, tmp_path: Path) -> None:
    """A queue that two workers see whole and take from at once, each without the other's lease."""
    made = [await case.withdraw("0.1") for _ in range(PAYMENTS)]
    async with rivals(case.seam, tmp_path / "rivals", without=["signer"]) as pair:
        assert None not in await together(pair, *PASS, meet="intent.before_allocate")
        assert min(await passed(pair, "intent.before_allocate")) == PAYMENTS  # both tried them all
        for _ in range(3):
            await together(pair, *PASS, meet="intent.before_send")
    await mined_once(case, made, PAYMENTS * ETH // 10)


async def test_s11_one_of_two_workers_sends_and_the_other_goes_on_after_its_death(
    case: Case, tmp_path: Path
) -> None:
    """As in service: leases of loops and of the address. The leader dies in the middle."""
    made = [await case.withdraw("0.1") for _ in range(PAYMENTS // 2)]
    async with rivals(case.seam, tmp_path / "rivals") as pair:
        for rival in pair:
            rival.tell(do="lead", loops=PASS)
        for rival in pair:
            await rival.told()
        await until_sent(case, 1)
        ticks = await passed(pair, f"tick.{SEND}")
        assert sorted(tick > 0 for tick in ticks) == [False, True]
        leader, other = pair if ticks[0] else pair[::-1]
        made += [await case.withdraw("0.1") for _ in range(PAYMENTS // 2)]
        await leader.kill()
        await until_sent(case, PAYMENTS)
        assert (await other.look())["intent.after_commit_sent"] > 0
    await mined_once(case, made, PAYMENTS * ETH // 10)


async def until_sent(case: Case, count: int) -> None:
    end = time.monotonic() + patience(SENT_SECONDS)
    query = "SELECT count(*) AS n FROM chain_attempts WHERE sends > 0"
    while (await case.seam.rows(query))[0].n < count:
        assert time.monotonic() < end, await case.fields()
        await asyncio.sleep(0.1)

"""What makes a schedule replay byte for byte: workers that take turns, counted ids, a log."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from wallet import clock, crashpoints
from wallet.ids import is_id, new_id
from wallet.testing.baton import Baton
from wallet.testing.trace import Points, Trace, counted_ids, counted_seconds


async def order_of(seed: int, workers: int = 3, steps: int = 4) -> list[tuple[int, int]]:
    """Who did what when, although every worker sleeps as long as it likes in between."""
    baton, done = Baton(random.Random(seed)), []
    alone = 0

    def worker(number: int):  # type: ignore[no-untyped-def]
        async def work() -> None:
            nonlocal alone
            for step in range(steps):
                await baton.turn()
                alone += 1
                await asyncio.sleep(random.random() / 500)
                assert alone == 1
                alone -= 1
                done.append((number, step))

        return work

    await baton.run([worker(number) for number in range(workers)])
    return done


class TestBaton:
    async def test_one_at_a_time_in_the_seeds_order(self) -> None:
        first = await order_of(1)
        assert await order_of(1) == first
        assert sorted(first) == [(number, step) for number in range(3) for step in range(4)]
        assert len({tuple(await order_of(seed)) for seed in range(6)}) > 1

    async def test_nobody_waits_outside(self) -> None:
        await asyncio.wait_for(Baton(random.Random(1)).turn(), 1)

    async def test_one_that_fails_hands_on_and_is_told(self) -> None:
        baton, done = Baton(random.Random(1)), []

        async def fails() -> None:
            await baton.turn()
            raise ValueError("mine")

        async def works() -> None:
            for _ in range(3):
                await baton.turn()
            done.append(True)

        with pytest.raises(ValueError, match="mine"):
            await asyncio.wait_for(baton.run([fails, works]), 5)
        assert done == [True]


class TestIds:
    def test_counted_sorted_and_gone_afterwards(self) -> None:
        with counted_ids():
            first = [new_id("int") for _ in range(300)]
        with counted_ids():
            assert [new_id("int") for _ in range(300)] == first
        assert first == sorted(set(first)) and all(is_id(item, "int") for item in first)
        assert new_id("int") not in first and new_id("int") != new_id("int")


class TestTrace:
    def test_a_byte_more_is_another_hash(self, tmp_path: Path) -> None:
        logs = [Trace(tmp_path / "one"), Trace(), Trace()]
        for log in logs:
            log.exchanged(b'{"id":1}', b'{"result":2}')
        logs[2].line("*", "x")
        assert logs[0].digest == logs[1].digest != logs[2].digest
        logs[0].close()
        assert (tmp_path / "one").read_bytes() == b'> {"id":1}\n< {"result":2}\n'

    def test_points_are_written_and_may_kill(self) -> None:
        trace = Trace()
        points = Points(trace)
        with points.heard():
            crashpoints.hit("a")
            points.act = lambda name: (_ for _ in ()).throw(KeyError(name))
            with pytest.raises(KeyError):
                crashpoints.hit("b")
        crashpoints.hit("c")
        assert trace.lines == 2


class TestSeconds:
    def test_they_are_passes_and_the_real_ones_afterwards(self) -> None:
        trace, before = Trace(), clock.steady()
        with counted_seconds(trace):
            assert clock.steady() == 0
            trace.passes += 30
            assert clock.steady() == 30
        assert clock.steady() >= before

    def test_no_worker_that_a_schedule_plays_counts_others(self) -> None:
        """A case that closed ten real seconds later closed elsewhere on a slow machine."""
        rooms = [Path(clock.__file__).parent / name for name in ("onchain", "deposits")]
        assert [
            str(file)
            for room in rooms
            for file in sorted(room.rglob("*.py"))
            if "time.monotonic" in file.read_text()
        ] == []

"""How many share a commit when many come again and again, and who waits for whom."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import psycopg
import pytest

from tests.ledger.test_group_commit import FLOW, claim, people, shape, writer
from wallet import group_commit, ledger
from wallet.group_batch import Item
from wallet.group_commit import GroupWriter
from wallet.idempotency import Outcome
from wallet.ledger import AccountIds

__all__ = ["people", "writer"]


def asking(writer: GroupWriter, payee: str, person: str, key: str) -> asyncio.Task[Outcome]:
    """A request under way."""
    return asyncio.create_task(writer.submit(claim(person, key), FLOW, (person, payee, 1), shape))


async def test_a_batch_beside_another_waits_for_a_quarter_of_the_crowd(
    writer: GroupWriter, people: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 32 who were here just now: one is posted, seven more wait for it, with the eighth they go
    beside it. Those between an answer and their next request are of the crowd, too."""
    batch, sizes, ends = writer._batch, list[int](), asyncio.Event()

    async def blocked(hot: ledger.Hot, ids: AccountIds, items: list[Item]) -> None:
        sizes.append(len(items))
        if len(items) == 1:
            await ends.wait()
        await batch(hot, ids, items)

    ask = partial(asking, writer, people[0])
    await asyncio.gather(*(ask(person, "crowd") for person in people[1:33]))
    monkeypatch.setattr(writer, "_batch", blocked)
    monkeypatch.setattr(group_commit, "PATIENCE_SECONDS", 60.0)
    tasks = [ask(people[1], "first")]
    await asyncio.sleep(0.05)
    tasks += [ask(person, "more") for person in people[2:9]]
    await asyncio.sleep(0.05)
    assert sizes == [1]
    tasks.append(ask(people[9], "more"))
    await asyncio.gather(*tasks[1:])
    assert sizes == [1, 8]
    ends.set()
    await tasks[0]


async def test_few_do_not_wait_for_a_batch_that_waits_for_a_lock(
    writer: GroupWriter, people: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody holds a row that one batch needs: those beside it are too few, and go all the same,
    also the next ones, whose writer rests by then."""
    batch, blocks, ends = writer._batch, list[int](), asyncio.Event()

    async def blocked(hot: ledger.Hot, ids: AccountIds, items: list[Item]) -> None:
        blocks.append(len(items))
        if len(blocks) == 1:
            await ends.wait()
        await batch(hot, ids, items)

    ask = partial(asking, writer, people[0])
    await asyncio.gather(*(ask(person, "crowd") for person in people[1:33]))
    monkeypatch.setattr(writer, "_batch", blocked)
    first = ask(people[1], "first")
    await asyncio.sleep(0.01)
    for turn in range(3):
        began = time.monotonic()
        few = asyncio.gather(*(ask(person, f"few{turn}") for person in people[2:5]))
        await asyncio.wait_for(few, 5)
        assert time.monotonic() - began < 0.5  # a rest is a second
    assert not first.done()
    ends.set()
    await first


async def test_who_waits_does_not_wait_for_anothers_pause(
    writer: GroupWriter, people: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two who came while the first was posted are too few for a batch beside it, not after it."""
    monkeypatch.setattr(group_commit, "RETRY_BASE_SECONDS", 4.0)
    batch, tried, fails = writer._batch, asyncio.Event(), asyncio.Event()

    async def blocked(hot: ledger.Hot, ids: AccountIds, items: list[Item]) -> None:
        if not tried.is_set():
            tried.set()
            await fails.wait()
            raise psycopg.errors.DeadlockDetected
        await batch(hot, ids, items)

    monkeypatch.setattr(writer, "_batch", blocked)

    ask = partial(asking, writer, people[0], key="k")
    first = ask(people[1])
    await tried.wait()
    others = [ask(people[2]), ask(people[3])]
    await asyncio.sleep(0.05)
    assert not any(one.done() for one in others)
    fails.set()
    began = time.monotonic()
    assert [one.answer.status for one in await asyncio.gather(*others)] == [201, 201]
    assert time.monotonic() - began < 2.0  # the pause is two seconds at least
    assert not first.done()
    assert (await first).answer.status == 201


async def test_few_after_many_do_not_wait_for_a_crowd(
    writer: GroupWriter, people: list[str]
) -> None:
    """What is too few for a batch beside another goes as soon as the other has ended."""
    await asyncio.gather(
        *(writer.submit(claim(p, "k"), FLOW, (p, people[0], 1), shape) for p in people[1:])
    )
    before = writer.batches
    few = people[1:6]
    await asyncio.gather(
        *(writer.submit(claim(p, "l"), FLOW, (p, people[0], 1), shape) for p in few)
    )
    assert writer.batches - before <= 2

"""A group writer and its connection: taken late, kept for a rest, lost, replaced."""

from __future__ import annotations

import asyncio
import time

import psycopg
import pytest

from tests.ledger.test_group_commit import FLOW, claim, people, shape, writer
from wallet import group_commit, ledger
from wallet.db import Database
from wallet.errors import Busy, DatabaseUnavailable, WalletError
from wallet.group_batch import Item
from wallet.group_commit import GroupWriter
from wallet.ledger import AccountIds, accounts

__all__ = ["people", "writer"]


async def test_ids_are_forgotten_with_the_connection(
    db: Database, people: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover may have lost the account that was opened last; its id is nobody's then."""
    monkeypatch.setattr(group_commit, "REST_SECONDS", 0.01)
    writer = GroupWriter(db)
    payer, payee = people[:2]

    async def pay(key: str) -> None:
        await writer.submit(claim(payer, key), FLOW, (payer, payee, 1), shape)

    await pay("first")
    known = writer._free[0]._known
    right = dict(known)
    known[accounts.customer(payee, "EUR").path] = "acc_of_the_server_that_is_gone"
    await asyncio.sleep(0.1)  # the connection is back in its pool
    with pytest.raises(WalletError):
        await pay("over the same connection")
    await asyncio.sleep(0.1)
    await db.engine.dispose()
    await pay("over another")
    assert known == right
    await writer.aclose()


async def test_one_that_comes_while_a_writer_waits_to_try_again_does_not_wait(
    db: Database, writer: GroupWriter, people: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "RETRY_BASE_SECONDS", 2.0)
    batch, tried = writer._batch, asyncio.Event()

    async def blocked(hot: ledger.Hot, ids: AccountIds, items: list[Item]) -> None:
        if not tried.is_set():
            tried.set()
            raise psycopg.errors.DeadlockDetected
        await batch(hot, ids, items)

    monkeypatch.setattr(writer, "_batch", blocked)
    first = asyncio.create_task(
        writer.submit(claim(people[0], "first"), FLOW, (people[0], people[1], 1), shape)
    )
    await tried.wait()
    began = time.monotonic()
    done = await writer.submit(claim(people[2], "next"), FLOW, (people[2], people[1], 1), shape)
    assert done.answer.status == 201 and not first.done()
    assert time.monotonic() - began < 1.0  # it waits one second at least
    assert (await first).answer.status == 201


async def test_a_connection_lost_among_single_ones_is_asked_no_more(
    db: Database, writer: GroupWriter, people: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that breaks is done one by one; when the database goes meanwhile, all are told."""
    asked: list[int] = []

    async def batch(hot: ledger.Hot, ids: AccountIds, items: list[Item]) -> None:
        asked.append(len(items))
        if len(items) > 1:
            raise ZeroDivisionError
        raise psycopg.OperationalError("gone")

    monkeypatch.setattr(writer, "_next", lambda: [writer._waiting.popleft() for _ in range(8)])
    monkeypatch.setattr(writer, "_batch", batch)
    told = await asyncio.gather(
        *(writer.submit(claim(p, "k"), FLOW, (p, people[0], 1), shape) for p in people[1:9]),
        return_exceptions=True,
    )
    assert [type(one) for one in told] == [DatabaseUnavailable] * 8
    assert asked == [8, 1]
    assert not writer._running


async def test_a_writer_that_is_cancelled_among_single_ones_leaves_nobody_waiting(
    writer: GroupWriter, people: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def batch(hot: ledger.Hot, ids: AccountIds, items: list[Item]) -> None:
        if len(items) > 1:
            raise ZeroDivisionError
        raise asyncio.CancelledError

    monkeypatch.setattr(writer, "_next", lambda: [writer._waiting.popleft() for _ in range(8)])
    monkeypatch.setattr(writer, "_batch", batch)
    asked = [writer.submit(claim(p, "k"), FLOW, (p, people[0], 1), shape) for p in people[1:9]]
    told = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 5)
    assert [type(one) for one in told] == [Busy] * 8

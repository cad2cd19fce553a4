"""Somebody is paid in thousands of parts: a transaction of 16,000,000 gas holds some 4,000
transfers of the smallest unit, and costs cents where gas is cheap. All others' deposits go on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from chain.blocks import Block
from chain.errors import NodeGarbage
from chain.observe import ObservedDeposit
from chain.testing.fake_node import FakeNode
from wallet import cases
from wallet.db import Database
from wallet.deposits import scanner
from wallet.onchain import tokens
from wallet.testing.seam import Seam

PARTS = 500
TX = "0x" + "ab" * 32


@pytest.fixture
async def seam(db: Database, tmp_path: Path) -> AsyncIterator[Seam]:
    node = FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=2, transport=node.transport
    )
    yield seam
    await seam.close()


@contextmanager
def counted(db: Database) -> Iterator[list[str]]:
    """Statements meanwhile."""
    told: list[str] = []

    def tell(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        told.append(statement)

    event.listen(db.engine.sync_engine, "before_cursor_execute", tell)
    try:
        yield told
    finally:
        event.remove(db.engine.sync_engine, "before_cursor_execute", tell)


async def flood(seam: Seam, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """The next block pays the address in so many parts."""
    contract = seam.network.tokens[0].contract
    parts = [
        (ObservedDeposit(TX, index, "USDC", contract, seam.faucet, address, 1), True)
        for index in range(PARTS)
    ]
    real, left = seam.chain.checked_deposits, [parts]

    async def checked(block: Block, *, watched: set[str], ahead: Mapping[str, Any]) -> list[Any]:
        arrived = await real(block, watched=watched, ahead=ahead)
        return [*arrived, *(left.pop() if left else ())]

    monkeypatch.setattr(seam.chain, "checked_deposits", checked)
    await seam.dev.mine(1)


async def test_it_is_kept_and_credited_by_few_statements(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    mallory = await seam.person()
    address = await seam.address(mallory)
    await seam.finish()
    await flood(seam, monkeypatch, address)
    await seam.observer.tick()
    with counted(seam.db) as told:
        await seam.scanner.tick()
        await seam.dev.mine(2)
        await seam.observer.tick()
        await seam.scanner.tick()
    assert (await seam.balance(mallory, "USDC")).total_minor == PARTS
    assert len(told) < PARTS / 2
    [events] = await seam.rows("SELECT count(*) AS n FROM outbox WHERE principal_id = :id",
                               id=mallory)  # fmt: skip
    assert events.n == 3 * PARTS


@pytest.mark.parametrize("halted", [False, True])
async def test_a_reorganisation_of_it_takes_few_statements(
    seam: Seam, monkeypatch: pytest.MonkeyPatch, halted: bool
) -> None:
    """Each of 2,000 took two statements, 35 s together, while nobody else was credited. It is the
    same deposit in its new block, once."""
    mallory = await seam.person()
    address = await seam.address(mallory)
    await seam.finish()
    if halted:
        async with seam.db.transaction() as session:
            await tokens.halt_token(session, network="local", asset="USDC", reason="minted")
    await flood(seam, monkeypatch, address)
    await seam.observer.tick()
    await seam.scanner.tick()
    before = await seam.rows("SELECT id, log_index, block_hash FROM deposits ORDER BY id")
    await seam.dev.reorg(1)
    await seam.observer.tick()
    with counted(seam.db) as told:
        await seam.scanner.tick()  # leaves the fork, and reads the block that took its place
        monkeypatch.undo()
        await flood(seam, monkeypatch, address)
        await seam.observer.tick()
        await seam.scanner.tick()
    assert len(told) < PARTS / 2
    rows = await seam.rows("SELECT id, log_index, block_hash, status FROM deposits ORDER BY id")
    assert [(row.id, row.log_index) for row in rows] == [(row.id, row.log_index) for row in before]
    assert {row.status for row in rows} == {"quarantined" if halted else "seen"}
    assert {row.block_hash for row in rows}.isdisjoint({row.block_hash for row in before})
    if not halted:
        await seam.finish()
        assert (await seam.balance(mallory, "USDC")).total_minor == PARTS


async def test_of_a_halted_token_it_is_set_aside_by_few_statements(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    mallory = await seam.person()
    address = await seam.address(mallory)
    await seam.finish()
    async with seam.db.transaction() as session:
        await tokens.halt_token(session, network="local", asset="USDC", reason="minted at will")
    await flood(seam, monkeypatch, address)
    await seam.observer.tick()
    with counted(seam.db) as told:
        await seam.scanner.tick()
    assert len(told) < PARTS / 2
    async with seam.db.transaction() as session:
        assert (await cases.open_counts(session))["deposit_quarantined"] == PARTS


async def test_who_comes_behind_it_has_their_turn_in_the_next_pass(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanner, "CREDITS_PER_TICK", 20)
    mallory, ada = await seam.person(), await seam.person()
    address, hers = await seam.address(mallory), await seam.address(ada)
    await seam.finish()
    await flood(seam, monkeypatch, address)
    await seam.pay_in(hers, "5", "USDC")
    await seam.observer.tick()
    await seam.scanner.tick()
    await seam.dev.mine(2)
    await seam.observer.tick()
    await seam.scanner.tick()
    assert (await seam.balance(ada, "USDC")).total_minor == 5 * 10**6
    assert 0 < (await seam.balance(mallory, "USDC")).total_minor < PARTS


async def test_one_that_the_books_refuse_takes_none_of_the_others_along(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    mallory, ada = await seam.funded_person(), await seam.person()
    hers = await seam.address(ada)
    await seam.rows(
        "SELECT ledger_set_status(id, 'closed') FROM accounts WHERE principal_id = :id",
        id=mallory,
    )
    await flood(seam, monkeypatch, hers)
    await seam.pay_in(await seam.address(mallory), "5", "USDC")
    await seam.finish()
    assert (await seam.balance(ada, "USDC")).total_minor == PARTS
    rows = await seam.rows(
        "SELECT status, reason, entry_id IS NOT NULL AS booked FROM deposits"
        " WHERE principal_id = :id ORDER BY block_number DESC LIMIT 1", id=mallory,
    )  # fmt: skip
    assert [tuple(row) for row in rows] == [("quarantined", "account_closed", True)]
    assert await seam.differences() == [f"chain:local:USDC:deposit -{PARTS}"]  # these were made up


async def test_blocks_that_come_together_are_kept_together(seam: Seam) -> None:
    """In as many statements as one."""
    ada = await seam.person()
    address = await seam.address(ada)
    await seam.finish()
    await seam.dev.mine(2)
    await seam.pay_in(address, "5", "USDC")
    await seam.observer.tick()
    with counted(seam.db) as told:
        await seam.scanner.tick()
    assert sum("INSERT INTO chain_blocks" in one for one in told) == 1
    assert [row.status for row in await seam.rows("SELECT status FROM deposits")] == ["seen"]


async def test_a_block_that_cannot_be_read_holds_up_none_before_it(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await seam.person()
    address = await seam.address(ada)
    await seam.finish()
    await seam.pay_in(address, "5", "USDC")
    await seam.dev.mine(seam.network.confirmations)
    bad, real = (await seam.chain.head()).number, seam.chain.checked_deposits

    async def checked(block: Block, *, watched: set[str], ahead: Mapping[str, Any]) -> list[Any]:
        if block.number == bad:
            raise NodeGarbage("a receipt without a log")
        return list(await real(block, watched=watched, ahead=ahead))

    monkeypatch.setattr(seam.chain, "checked_deposits", checked)
    await seam.observer.tick()
    with pytest.raises(NodeGarbage):
        await seam.scanner.tick()
    [tip] = await seam.rows("SELECT tip_number FROM scan_state")
    assert tip.tip_number == bad - 1
    monkeypatch.undo()
    await seam.scanner.tick()
    assert (await seam.balance(ada, "USDC")).total_minor == 5 * 10**6

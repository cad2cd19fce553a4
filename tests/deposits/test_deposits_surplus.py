"""What balances alone show: at every address of ours, in every asset, once."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from sqlalchemy import text

from chain.address import checked
from chain.client import ChainClient
from chain.testing.fake_node import FakeNode
from wallet import cases, ledger
from wallet.auditor.rooms import receiving
from wallet.db import Database
from wallet.deposits import SurplusFinder, forks, surplus
from wallet.deposits.arrivals import approve, arrivals, propose
from wallet.errors import InvalidState
from wallet.ledger import accounts
from wallet.onchain import network as networks
from wallet.reconcile import ReconcileWatch
from wallet.testing.databases import ScratchDatabase
from wallet.testing.meddler import Meddler
from wallet.testing.operators import as_operator
from wallet.testing.seam import Seam

ETHER = 10**18
TX = "0x" + "a7" * 32


@pytest.fixture
async def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
async def seam(db: Database, node: FakeNode, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=2, transport=node.transport
    )
    yield seam
    await seam.close()


def finder_of(seam: Seam) -> SurplusFinder:
    return SurplusFinder(seam.db, seam.chain, seam.assets, seam.deriver)


async def found(seam: Seam) -> list[tuple[str, str, int]]:
    async with seam.db.transaction() as session:
        listed = await arrivals(session, seam.assets)
    return [(one.address, one.money.asset.code, one.money.minor) for one in listed]


async def follow_fork(seam: Seam) -> None:
    """Two operators let the network go on along the chain that the node has."""
    fork = await forks.fork(seam.db, seam.chain)
    async with as_operator(seam.db) as session:
        await forks.propose(session, fork, by="al")
    async with as_operator(seam.db) as session:
        await forks.approve(session, seam.assets, fork, by="bea")


async def test_addresses_of_another_network_are_all_looked_at_in_turn(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surplus, "ADDRESSES_PER_TICK", 2)
    ada = await seam.person()
    for index in range(5):
        await seam.rows(
            "INSERT INTO deposit_addresses (id, principal_id, network, derivation_index, address,"
            " is_current) VALUES (:id, :who, 'elsewhere', :index, :address, false) RETURNING 1",
            id=f"adr_{index}", who=ada, index=index, address=seam.deriver.address(index),
        )  # fmt: skip
    oldest = seam.deriver.address(0)
    await seam.pay_in(oldest, "1", "USDC")
    await seam.pay_in(oldest, "2", "ETH")
    await seam.finish()
    finder = finder_of(seam)
    for _ in range(4):
        await finder.tick()
    assert sorted(await found(seam)) == [(oldest, "ETH", 2 * ETHER), (oldest, "USDC", 10**6)]
    assert await seam.differences() == []


async def test_of_other_networks_addresses_one_token_is_asked_at_a_time(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be thousands, looked at every 15 s: each token more is not as much again."""
    monkeypatch.setattr(surplus, "ADDRESSES_PER_TICK", 2)
    monkeypatch.setattr(surplus, "AHEAD", 0)
    ada = await seam.person()
    addresses = [seam.deriver.address(index) for index in range(3)]
    for index, address in enumerate(addresses):
        await seam.rows(
            "INSERT INTO deposit_addresses (id, principal_id, network, derivation_index, address,"
            " is_current) VALUES (:id, :who, 'elsewhere', :index, :address, false) RETURNING 1",
            id=f"adr_{index}", who=ada, index=index, address=address,
        )  # fmt: skip
    await seam.finish()
    usdc = seam.network.tokens[0]
    others = (replace(usdc, code="EURC", contract=checked("0x" + "e1" * 20)),
              replace(usdc, code="USDT", contract=checked("0x" + "d7" * 20)))  # fmt: skip
    chain = ChainClient(replace(seam.network, tokens=(usdc, *others)), seam.chain.rpc)
    asked: list[tuple[str, str]] = []

    async def balances(of: list[str], asset: str, _: int) -> list[int]:
        asked.extend((one, asset) for one in of)
        return [0] * len(of)

    monkeypatch.setattr(chain, "balances", balances)
    finder = SurplusFinder(seam.db, chain, seam.assets, seam.deriver)
    most = 0
    for _ in range(6):  # two shares, three tokens
        before = len(asked)
        await finder.tick()
        most = max(most, len(asked) - before)
    assert most == 2 * 2  # of two addresses the coin and one token
    assert set(asked) == set(product(addresses, ("ETH", "USDC", "EURC", "USDT")))


async def test_tokens_that_came_before_the_address_was_anybodys_are_found(seam: Seam) -> None:
    """A key-less address is known beforehand to everybody who knows the factory."""
    address = seam.deriver.address(0)
    await seam.pay_in(address, "1", "USDC")
    await seam.pay_in(address, "2", "ETH")
    await seam.mine(1)  # scanned, not final
    ada = await seam.person()
    assert await seam.address(ada) == address
    await seam.finish()
    finder = finder_of(seam)
    for _ in range(2):
        await finder.tick()
    assert sorted(await found(seam)) == [(address, "ETH", 2 * ETHER), (address, "USDC", 10**6)]
    assert await seam.differences() == []
    await seam.pay_in(address, "3", "USDC")
    await seam.finish()
    for _ in range(2):
        await finder.tick()
    assert (await seam.balance(ada, "USDC")).total_minor == 3 * 10**6
    assert len(await found(seam)) == 2 and await seam.differences() == []


async def test_tokens_that_came_while_theirs_was_not_listed_are_found(seam: Seam) -> None:
    ada = await seam.person()
    address = await seam.address(ada)
    listed = seam.network
    seam.network = replace(listed, tokens=())
    seam.restart_worker()
    tx = await seam.dev.send_token(listed.tokens[0].contract, address, 10**6)
    await seam.dev.wait_mined(tx)
    await seam.finish()
    seam.network = listed
    seam.restart_worker()
    await seam.finish()
    for _ in range(2):
        await finder_of(seam).tick()
    assert await found(seam) == [(address, "USDC", 10**6)]
    assert await seam.differences() == []


async def test_a_scan_from_the_start_credits_nothing_that_was_found_by_balances(
    seam: Seam, database: ScratchDatabase
) -> None:
    address = seam.deriver.address(0)
    await seam.pay_in(address, "1", "USDC")
    await seam.pay_in(address, "2", "ETH")
    await seam.finish()
    await finder_of(seam).tick()
    assert len(await found(seam)) == 2
    ada = await seam.person()
    assert await seam.address(ada) == address
    await seam.pay_in(address, "3", "USDC")
    await seam.finish()
    owner = Database(database.owner_url)
    async with owner.transaction() as session:
        for table in ("scan_state", "chain_blocks"):
            await session.execute(text(f"DELETE FROM {table}"))
    await owner.dispose()
    seam.restart_worker()
    await seam.finish()
    await finder_of(seam).tick()
    assert (await seam.balance(ada, "USDC")).total_minor == 3 * 10**6
    assert (await seam.balance(ada, "ETH")).total_minor == 0
    assert await seam.differences() == []


async def test_an_assigned_arrival_that_a_fork_took_is_not_assigned_twice(seam: Seam) -> None:
    await seam.mine(20)
    ada = await seam.person()
    address = await seam.address(ada)
    await seam.node("anvil_setBalance", address, hex(777))
    await seam.mine(6)
    finder = finder_of(seam)
    await finder.tick()
    await assign(seam, ada)
    await seam.dev.reorg(10)
    await seam.mine(1)
    await follow_fork(seam)
    await seam.finish()
    await finder.tick()
    assert await suspense(seam) == 777 and await found(seam) == []  # they did not come again yet
    assert await seam.differences() == []
    await seam.node("anvil_setBalance", address, hex(777))
    await seam.finish()
    for _ in range(2):
        await finder.tick()
        await seam.finish()
    assert await found(seam) == [] and await suspense(seam) == 0
    assert (await seam.balance(ada, "ETH")).total_minor == 777
    assert await seam.differences() == []


async def test_an_open_arrival_that_a_fork_took_is_assigned_to_nobody(seam: Seam) -> None:
    await seam.mine(20)
    ada = await seam.person()
    address = await seam.address(ada)
    await seam.node("anvil_setBalance", address, hex(777))
    await seam.mine(6)
    finder = finder_of(seam)
    await finder.tick()
    await seam.dev.reorg(10)
    await seam.mine(1)
    await follow_fork(seam)
    await seam.finish()
    await seam.finish()
    await finder.tick()
    with pytest.raises(InvalidState, match="Less lies"):
        await assign(seam, ada)
    assert (await seam.balance(ada, "ETH")).total_minor == 0


async def test_what_one_transaction_brought_may_be_found_and_assigned_in_two_parts(
    seam: Seam,
) -> None:
    ada = await seam.person()
    address = await seam.address(ada)
    for wei in (777, 1_000):
        await seam.node("anvil_setBalance", address, hex(wei))
        await seam.finish()
        await finder_of(seam).tick()
        await assign(seam, ada)
    assert (await seam.balance(ada, "ETH")).total_minor == 1_000
    [twice] = [check for check in receiving.CHECKS if check.code == "deposit_twice"]
    assert await seam.rows(twice.sql) == []


async def test_what_a_wrong_node_took_for_a_while_is_not_found_when_the_right_one_is_back(
    seam: Seam, node: FakeNode
) -> None:
    """Its loss is undone by the scanner, as soon as somebody has let the network go on."""
    await seam.mine(20)
    ada = await seam.person()
    address = await seam.address(ada)
    for asset in ("ETH", "USDC"):
        await seam.pay_in(address, "1", asset)
    await seam.mine(6)
    right = copy.deepcopy(node.chain)
    await seam.dev.reorg(10)
    await seam.mine(1)
    assert await suspense(seam) == ETHER
    node.chain = right
    finder = finder_of(seam)
    for _ in range(2):
        await seam.pass_once()
        await finder.tick()
    async with seam.operators.transaction() as session:
        await networks.resume(session, "local", by="al")
    await finder.tick()  # before the scanner's next pass
    await seam.finish()
    for _ in range(2):
        await finder.tick()
    assert await found(seam) == [] and await suspense(seam) == 0
    assert (await seam.balance(ada, "ETH")).total_minor == ETHER
    assert await seam.differences() == []


async def assign(seam: Seam, who: str) -> None:
    """The one that waits, by two people, as brought by `TX`."""
    async with seam.db.transaction() as session:
        [one] = await arrivals(session, seam.assets)
    async with as_operator(seam.db) as session:
        await propose(
            session, arrival_id=one.id, principal_id=who, tx_hash=TX, by="al", assets=seam.assets
        )
    async with as_operator(seam.db) as session:
        await approve(session, arrival_id=one.id, principal_id=who, by="bea", assets=seam.assets)


async def suspense(seam: Seam) -> int:
    async with seam.db.transaction() as session:
        return await ledger.balance_of(session, accounts.chain_loss("local", "ETH"))


async def test_a_token_that_tells_of_balances_without_end_breaks_no_books(seam: Seam) -> None:
    """A few of 2^256 − 1 are more than any account or reading can hold."""
    ada = await seam.person()
    for _ in range(10):
        await seam.address(ada, fresh=True)
    meddler = Meddler(seam.chain.rpc)
    meddler.alter = lambda method, _, told: "0x" + "ff" * 32 if method == "eth_call" else told
    seam.chain = ChainClient(seam.network, meddler)
    await seam.pay_in(seam.deriver.address(12), "2", "ETH")
    await seam.finish()
    for _ in range(2):
        await finder_of(seam).tick()
    assert await found(seam) == [(seam.deriver.address(12), "ETH", 2 * ETHER)]
    async with seam.db.transaction() as session:
        await ledger.fold(session, max_rows=100)
    watch = ReconcileWatch(seam.db, {"local": seam.chain}, seam.assets)
    assert {(await watch.tick()).outcome for _ in range(2)} == {"differs"}
    async with seam.db.transaction() as session:
        kinds = [case.kind for case in await cases.listed(session)]
    assert kinds.count("books_differ") == 2

"""The sweeping contracts are everybody's: whoever calls them moves our coins between our places."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import psycopg
import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from chain.address import checked
from chain.testing import AnvilProcess
from contracts.create2 import salt_of
from wallet import custody, ledger
from wallet.auditor import chainread
from wallet.auditor import instance as audited
from wallet.db import Database
from wallet.deposits import SurplusFinder, forks
from wallet.deposits.losses import losses
from wallet.ledger import accounts
from wallet.sweeps import repository
from wallet.sweeps.calls import flush_call
from wallet.testing.databases import ScratchDatabase
from wallet.testing.operators import as_operator
from wallet.testing.seam import Seam

STRANGER: LocalAccount = Account.from_key(bytes([0xBE]) * 32)
GWEI = 10**9
Kind = Literal["eip7702", "create2"]
Open = Callable[..., Awaitable[Seam]]


@pytest.fixture
async def opened(db: Database, anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Open]:
    seams: list[Seam] = []

    async def open_seam(kind: Kind, *supports: str) -> Seam:
        seam = await Seam.open(db, anvil.url, tmp_path / "signer", sweeps=kind)
        seams.append(seam)
        seam.network = replace(seam.network, supports=(*seam.network.supports, *supports))
        seam.restart_worker()
        await seam.fund_house()
        await seam.node("anvil_setBalance", STRANGER.address, hex(10**18))
        return seam

    yield open_seam
    for seam in seams:
        await seam.close()


async def call(seam: Seam, to: str, data: bytes, *, gwei: int = 20) -> str:
    """A transaction of the stranger's; its bytes."""
    tx = {
        "to": to, "data": data, "value": 0, "gas": 1_000_000, "gasPrice": gwei * GWEI,
        "nonce": await seam.chain.nonce(STRANGER.address), "chainId": seam.network.chain_id,
    }  # fmt: skip
    raw = "0x" + STRANGER.sign_transaction(tx).raw_transaction.hex()
    await seam.node("eth_sendRawTransaction", raw)
    return raw


def flush_of(seam: Seam, index: int) -> bytes:
    [token] = seam.network.tokens
    return flush_call([salt_of(seam.network.name, index)], [token.contract])


async def stranger_sweeps(seam: Seam, address: str, *, gwei: int = 20) -> str:
    """A key-less address by its factory, a delegated one by itself."""
    if seam.network.deposit_kind == "create2":
        [row] = await seam.rows(
            "SELECT derivation_index FROM deposit_addresses WHERE address = :a", a=address
        )
        factory = seam.network.contracts["forwarder_factory"]
        return await call(seam, factory, flush_of(seam, row.derivation_index), gwei=gwei)
    [token] = seam.network.tokens
    data = keccak(text="sweepToken(address)")[:4] + bytes(12) + bytes.fromhex(token.contract[2:])
    return await call(seam, address, data, gwei=gwei)


async def find(seam: Seam) -> None:
    """One look of the balance finder."""
    deriver = custody.deriver_of(seam.network, seam.deriver)
    await SurplusFinder(seam.db, seam.chain, seam.assets, deriver).tick()


async def unattributed(seam: Seam, asset: str) -> int:
    async with seam.db.snapshot() as session:
        return await ledger.balance_of(session, accounts.unattributed("house", asset))


async def all_agrees(seam: Seam) -> bool:
    """No difference, nothing found or missed by balances, nothing that is nobody's, no case."""
    await find(seam)
    arrivals = await seam.rows("SELECT * FROM unattributed_arrivals")
    cases = await seam.rows("SELECT kind FROM cases")
    nobodys = [await unattributed(seam, asset) for asset in ("ETH", "USDC")]
    return (await seam.differences(), arrivals, cases, nobodys) == ([], [], [], [0, 0])


async def person_with(seam: Seam, **amounts: str) -> tuple[str, str]:
    person = await seam.person()
    address = await seam.address(person)
    for asset, amount in amounts.items():
        await seam.pay_in(address, amount, asset.upper())
    await seam.arrive()
    return person, address


async def delegated(seam: Seam) -> tuple[str, str]:
    """Somebody whose address our sweeper has emptied once, with new tokens on it."""
    person, address = await person_with(seam, usdc="500")
    await seam.sweeper.tick()
    await seam.finish()
    await seam.pay_in(address, "500", "USDC")
    await seam.arrive()
    return person, address


@pytest.mark.parametrize("kind", ["eip7702", "create2"])
async def test_tokens_that_a_stranger_sweeps_are_a_move_inside_the_house(
    opened: Open, kind: Kind
) -> None:
    seam = await opened(kind)
    if kind == "eip7702":
        person, address = await delegated(seam)
    else:
        person, address = await person_with(seam, usdc="500")
    hot, sweeps = await seam.booked("USDC", "hot"), await seam.rows("SELECT id FROM sweeps")
    theirs = await seam.balance(person, "USDC")
    await stranger_sweeps(seam, address)
    for _ in range(seam.network.confirmations + 3):
        await seam.pass_once()
        assert await all_agrees(seam)
        await seam.dev.mine(1)
    assert await seam.booked("USDC", "hot") == hot + 500_000_000
    assert await seam.booked("USDC", "deposit") == 0
    assert await seam.balance(person, "USDC") == theirs
    await seam.sweeper.tick()
    assert await seam.rows("SELECT id FROM sweeps") == sweeps  # no gas for an empty address


@pytest.mark.parametrize("supports", [(), ("traces",)])
@pytest.mark.parametrize("behind", [False, True])
async def test_so_are_coins(opened: Open, supports: tuple[str, ...], behind: bool) -> None:
    """Told by the log of the address, also where blocks are read in ranges or with traces, and
    where no token moves beside them."""
    seam = await opened("create2", *supports)
    person, address = await person_with(seam, eth="2")
    hot = await seam.booked("ETH", "hot")
    await stranger_sweeps(seam, address)
    if behind:
        await seam.dev.mine(3 * seam.network.confirmations)
    for _ in range(seam.network.confirmations + 3):
        await seam.pass_once()
        assert await all_agrees(seam)
        await seam.dev.mine(1)
    assert await seam.booked("ETH", "hot") == hot + 2 * 10**18
    assert await seam.booked("ETH", "deposit") == 0
    assert (await seam.balance(person, "ETH")).available_minor == 2 * 10**18
    moves = await seam.rows("SELECT asset FROM deposits WHERE is_move AND status = 'credited'")
    assert [row.asset for row in moves] == ["ETH"]


async def test_a_reorganisation_undoes_it_and_it_is_done_again(opened: Open) -> None:
    seam = await opened("create2")
    _, address = await person_with(seam, eth="1", usdc="50")
    raw = await stranger_sweeps(seam, address)
    await seam.mine(2)
    await seam.node("anvil_reorg", 5, [])
    await seam.pass_once()
    assert await all_agrees(seam)
    gone = await seam.rows("SELECT status FROM deposits WHERE is_move")
    assert [row.status for row in gone] == ["orphaned"] * 2
    await seam.node("eth_sendRawTransaction", raw)
    for _ in range(seam.network.confirmations + 2):
        await seam.mine()
        assert await all_agrees(seam)
    moves = await seam.rows("SELECT status FROM deposits WHERE is_move")
    assert [row.status for row in moves] == ["credited"] * 2
    assert await seam.booked("ETH", "deposit") == await seam.booked("USDC", "deposit") == 0


async def test_a_fork_below_finality_takes_it_back_and_its_return_does_it_again(
    opened: Open, database: ScratchDatabase
) -> None:
    seam = await opened("create2")
    _, address = await person_with(seam, eth="1", usdc="50")
    await seam.mine(20)
    hot = await seam.booked("ETH", "hot")
    raw = await stranger_sweeps(seam, address)
    await seam.mine(10)
    assert await seam.booked("ETH", "hot") == hot + 10**18
    await seam.dev.reorg(12)
    await seam.mine(1)  # halts, and books the loss
    assert (await seam.booked("ETH", "hot"), await seam.booked("ETH", "deposit")) == (hot, 10**18)
    async with seam.db.transaction() as session:
        assert len(await losses(session, seam.assets)) == 2
    found = await forks.fork(seam.db, seam.chain)
    async with as_operator(seam.db) as session:
        await forks.propose(session, found, by="al")
    async with as_operator(seam.db) as session:
        await forks.approve(session, seam.assets, found, by="bea")
    await seam.finish()
    await find(seam)
    assert await seam.differences() == [] and auditor_names(seam, database) == []
    assert await seam.rows("SELECT * FROM unattributed_arrivals") == []
    async with seam.db.transaction() as session:
        [held] = await repository.candidates(
            session, network="local", native="ETH", asset="USDC", up_to=10**9, least=1, limit=9
        )
    assert (held.address, held.minor) == (address, 50_000_000)  # ours to sweep again
    await seam.node("eth_sendRawTransaction", raw)
    for _ in range(seam.network.confirmations + 2):
        await seam.mine()
        await find(seam)
        assert await seam.differences() == [] and auditor_names(seam, database) == []
    assert (await seam.booked("ETH", "hot"), await seam.booked("ETH", "deposit")) == (
        hot + 10**18, 0,
    )  # fmt: skip
    async with seam.db.transaction() as session:
        assert await losses(session, seam.assets) == []
    unbook(database, "deposit_losses", "return_entry_id = NULL", "return_entry_id")
    assert auditor_names(seam, database) == []
    assert await seam.rows("SELECT 1 FROM unattributed_arrivals UNION SELECT 1 FROM cases"
                           " WHERE kind = 'deposit_shortfall'") == []  # fmt: skip


async def test_what_is_not_credited_yet_may_be_swept_already(opened: Open) -> None:
    """In the very block in which it arrived, before or after it in the order of crediting."""
    seam = await opened("create2")
    person = await seam.person()
    address = await seam.address(person)
    await seam.automine(False)
    [token] = seam.network.tokens
    await seam.dev.send_token(token.contract, address, 7_000_000)
    await stranger_sweeps(seam, address, gwei=1)
    await seam.automine(True)
    for _ in range(seam.network.confirmations + 3):
        await seam.mine()
        assert await all_agrees(seam)
    rows = await seam.rows(
        "SELECT is_move FROM deposits WHERE from_address = :a OR to_address = :a", a=address
    )
    assert sorted(row.is_move for row in rows) == [False, True]
    assert (await seam.balance(person, "USDC")).available_minor == 7_000_000
    assert await seam.booked("USDC", "deposit") == 0


async def test_what_is_set_aside_may_be_swept_too(opened: Open) -> None:
    """More leaves the address than was credited: its token was halted when the rest came."""
    seam = await opened("create2")
    _, address = await person_with(seam, usdc="5")
    await seam.rows(
        "INSERT INTO halted_tokens (network, asset, reason) VALUES ('local', 'USDC', 'x')"
        " RETURNING 1"
    )
    await seam.pay_in(address, "3", "USDC")
    await seam.mine()
    await stranger_sweeps(seam, address)
    for _ in range(seam.network.confirmations + 2):
        await seam.mine()
        assert await seam.differences() == []
    states = await seam.rows(
        "SELECT is_move, status FROM deposits WHERE from_address = :a OR to_address = :a"
        " ORDER BY block_number", a=address,
    )  # fmt: skip
    assert [(row.is_move, row.status) for row in states] == [
        (False, "credited"), (False, "quarantined"), (True, "credited"),
    ]  # fmt: skip


@pytest.mark.parametrize("gwei", [1, 400])
async def test_our_own_sweep_and_a_strangers_in_one_block(opened: Open, gwei: int) -> None:
    """One of them gets nothing."""
    seam = await opened("create2")
    _, address = await person_with(seam, eth="2", usdc="50")
    hot = await seam.on_chain(seam.network.contracts["treasury"], "USDC")
    await seam.automine(False)
    await seam.sweeper.tick()
    for _ in range(3):
        await seam.runner.tick()
    await stranger_sweeps(seam, address, gwei=gwei)
    await seam.automine(True)
    for _ in range(seam.network.confirmations + 3):
        await seam.mine()
        assert await all_agrees(seam)
    moves = await seam.rows("SELECT count(*) AS n FROM deposits WHERE is_move")
    assert moves[0].n == (0 if gwei == 1 else 2)
    [ours] = await seam.rows("SELECT state FROM sweeps")
    assert ours.state == "done"
    assert await seam.on_chain(seam.network.contracts["treasury"], "USDC") == hot + 50_000_000


def auditor_names(seam: Seam, database: ScratchDatabase) -> list[str]:
    """What the auditor says of the chain."""
    net = seam.network
    tokens = {one.code: (one.contract.lower(), one.decimals) for one in net.tokens}
    network = audited.Network(
        net.name, net.chain_id, (seam.url,), net.native_asset, tokens, net.contracts, True
    )
    told = audited.Instance({net.name: network}, None)
    with psycopg.connect(database.conninfo("bifold_audit"), autocommit=True) as connection:
        [word] = chainread.ask(connection, told)
    assert word.unknown is None
    return [finding.code for finding in word.findings]


def unbook(
    database: ScratchDatabase, table: str, change: str, entry: str, where: str = "true"
) -> None:
    """As if booking waited while the block is final already: both rows lose their entries."""
    superuser = database.server.conninfo(database=database.name)
    with psycopg.connect(superuser, autocommit=True) as books:
        books.execute("SET session_replication_role = replica")
        gone = books.execute(
            f"WITH b AS (SELECT id, {entry} AS entry FROM {table} WHERE {where}),"
            " p AS (DELETE FROM postings WHERE entry_id IN (SELECT entry FROM b))"
            f" UPDATE {table} t SET {change} FROM b WHERE t.id = b.id RETURNING t.id"
        ).fetchall()
    assert len(gone) == 2


async def test_the_auditor_sees_nothing_amiss_at_any_block(
    opened: Open, database: ScratchDatabase
) -> None:
    """Booked or not; it reads the final block only, so a scanner that has not credited it yet."""
    seam = await opened("create2")
    _, address = await person_with(seam, eth="1", usdc="1")
    await stranger_sweeps(seam, address)
    for _ in range(seam.network.confirmations + 2):
        await seam.mine()
        assert auditor_names(seam, database) == []
    unbook(database, "deposits", "status = 'confirmed', entry_id = NULL", "entry_id", "is_move")
    assert auditor_names(seam, database) == []


async def unissued(seam: Seam) -> tuple[int, str]:
    """An address of ours that nobody was given yet."""
    await seam.address(await seam.person())
    [row] = await seam.rows("SELECT max(derivation_index) + 3 AS index FROM deposit_addresses")
    return row.index, custody.deriver_of(seam.network, seam.deriver).address(row.index)


async def test_coins_at_an_address_of_nobody_are_swept_after_they_were_found(
    opened: Open, database: ScratchDatabase
) -> None:
    seam = await opened("create2", "traces")
    index, address = await unissued(seam)
    await seam.pay_in(address, "1", "ETH")
    await seam.pay_in(address, "5", "USDC")
    await seam.arrive()
    await find(seam)
    assert await seam.booked("USDC", "deposit") == 5_000_000
    assert await seam.differences() == [] and auditor_names(seam, database) == []
    await call(seam, seam.network.contracts["forwarder_factory"], flush_of(seam, index))
    for _ in range(seam.network.confirmations + 2):
        await seam.mine()
        await find(seam)
        assert await seam.differences() == [] and auditor_names(seam, database) == []
    assert await seam.booked("USDC", "deposit") == await seam.booked("ETH", "deposit") == 0
    assert [await unattributed(seam, asset) for asset in ("ETH", "USDC")] == [0, 0]


async def test_coins_swept_before_they_were_found_are_not_counted_twice(opened: Open) -> None:
    """They lie at a final block still, and at the newest one no more."""
    seam = await opened("create2", "traces")
    index, address = await unissued(seam)
    await seam.pay_in(address, "1", "ETH")
    await seam.pay_in(address, "5", "USDC")
    await seam.mine(seam.network.confirmations + 1)
    await call(seam, seam.network.contracts["forwarder_factory"], flush_of(seam, index))
    for _ in range(seam.network.confirmations + 3):
        await seam.pass_once()
        await find(seam)
        assert await seam.differences() == []
        await seam.dev.mine(1)
    assert await seam.rows("SELECT * FROM unattributed_arrivals") == []
    assert [await unattributed(seam, asset) for asset in ("ETH", "USDC")] == [10**18, 5_000_000]


def calls_on_receipt(target: str, data: bytes) -> bytes:
    """Init code of a contract that makes this call whenever it is paid."""
    size, begin = len(data).to_bytes(2, "big"), (53).to_bytes(2, "big")
    runtime = (
        b"\x61" + size + b"\x61" + begin + b"\x60\x00\x39"  # the call's data into memory
        b"\x60\x00\x60\x00\x61" + size + b"\x60\x00\x60\x00\x73" + bytes.fromhex(target[2:])
        + b"\x5a\xf1\x60\x33\x57\x60\x00\x60\x00\xfd\x5b\x00"  # reverts where the call does
        + data
    )  # fmt: skip
    length = len(runtime).to_bytes(2, "big")
    return b"\x61" + length + b"\x60\x0e\x60\x00\x39\x61" + length + b"\x60\x00\xf3" + runtime


async def test_our_own_payment_may_be_what_calls_the_sweep(opened: Open) -> None:
    """Whose recipient is a contract that has the factory flush an address of ours."""
    seam = await opened("create2")
    person, address = await person_with(seam, eth="2", usdc="50")
    [row] = await seam.rows("SELECT derivation_index FROM deposit_addresses")
    factory = seam.network.contracts["forwarder_factory"]
    code = calls_on_receipt(factory, flush_of(seam, row.derivation_index))
    sent = await seam.node(
        "eth_sendTransaction", {"from": seam.faucet, "data": "0x" + code.hex(), "gas": hex(10**6)}
    )
    payee = (await seam.dev.wait_mined(str(sent))).contract_address
    assert payee is not None
    await seam.withdraw(person, "0.5", "ETH", checked(payee))
    for _ in range(seam.network.confirmations + 5):
        await seam.mine()
        assert await all_agrees(seam)
    assert await seam.on_chain(checked(payee), "ETH") == 5 * 10**17
    assert await seam.on_chain(address, "USDC") == await seam.booked("USDC", "deposit") == 0
    moves = await seam.rows("SELECT asset FROM deposits WHERE is_move AND status = 'credited'")
    assert sorted(row.asset for row in moves) == ["ETH", "USDC"]


async def coins_come(seam: Seam, address: str) -> None:
    """With more gas than a plain payment has."""
    tx = {"from": seam.faucet, "to": address, "value": hex(10**18), "gas": hex(60_000)}
    await seam.node("eth_sendTransaction", tx)
    await seam.finish()


async def test_a_delegated_address_pays_nothing_a_stranger_could_take(opened: Open) -> None:
    """Neither its own gas: its coins and tokens are called for."""
    seam = await opened("eip7702")
    person, address = await delegated(seam)
    await coins_come(seam, address)
    assert (await seam.balance(person, "ETH")).available_minor == 10**18
    await seam.sweeper.tick()
    await call(seam, address, keccak(text="sweepNative()")[:4])
    for _ in range(3):
        await seam.finish()
        await seam.sweeper.tick()
    sweeps = await seam.rows("SELECT kind, asset, state FROM sweeps")
    assert {(row.kind, row.state) for row in sweeps} == {("delegated", "done")}
    assert await seam.booked("ETH", "deposit") == await seam.booked("USDC", "deposit") == 0
    assert await all_agrees(seam)
    await coins_come(seam, address)
    await seam.sweeper.tick()
    await seam.finish()
    assert await seam.on_chain(address, "ETH") == 0
    coins = await seam.rows("SELECT kind FROM sweeps WHERE asset = 'ETH' AND state = 'done'")
    assert {row.kind for row in coins} == {"delegated"}
    assert await all_agrees(seam)

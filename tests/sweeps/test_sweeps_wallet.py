"""Deposit addresses are emptied into the treasury; books, chain and customers agree throughout."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_utils.crypto import keccak
from sqlalchemy import text

from chain.address import checked
from chain.client import ChainClient
from chain.errors import NodeRejected
from chain.testing import AnvilProcess
from wallet import custody, ledger
from wallet.db import Database
from wallet.deposits import SurplusFinder
from wallet.ledger import accounts
from wallet.onchain import signers
from wallet.sweeps import sweeper
from wallet.sweeps.worth import COIN_WORTH
from wallet.testing.databases import ScratchDatabase
from wallet.testing.seam import Seam

Kind = Literal["prefund", "eip7702", "create2"]
Open = Callable[..., Awaitable[Seam]]


@pytest.fixture
async def opened(db: Database, anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Open]:
    seams: list[Seam] = []

    async def open_seam(kind: Kind, contract_name: str = "TestToken") -> Seam:
        seam = await Seam.open(
            db, anvil.url, tmp_path / "signer", sweeps=kind, contract_name=contract_name
        )
        seams.append(seam)
        await seam.fund_house()
        return seam

    yield open_seam
    for seam in seams:
        await seam.close()


async def sweep(seam: Seam) -> None:
    """Decide, send, make final, book."""
    await seam.sweeper.tick()
    await seam.finish()


async def kinds(seam: Seam) -> list[tuple[str, str, str]]:
    rows = await seam.rows("SELECT kind, asset, state FROM sweeps ORDER BY created_at, id")
    return [(row.kind, row.asset, row.state) for row in rows]


async def all_agrees(seam: Seam) -> bool:
    """Reconcile names nothing, and nothing looks like a surplus or a shortfall."""
    deriver = custody.deriver_of(seam.network, seam.deriver)
    finder = SurplusFinder(seam.db, seam.chain, seam.assets, deriver)
    await finder.tick()
    found = await seam.rows("SELECT * FROM unattributed_arrivals")
    return await seam.differences() == [] and found == []


async def person_with(seam: Seam, **amounts: str) -> tuple[str, str]:
    person = await seam.person()
    address = await seam.address(person)
    for asset, amount in amounts.items():
        await seam.pay_in(address, amount, asset.upper())
    await seam.arrive()
    return person, address


async def test_coins_leave_by_the_addresses_own_transfer(opened: Open) -> None:
    seam = await opened("prefund")
    person, address = await person_with(seam, eth="2")
    before = await seam.balance(person, "ETH")
    await sweep(seam)
    assert await kinds(seam) == [("coin", "ETH", "done")]
    left = await seam.on_chain(address, "ETH")
    assert 0 < left < 10**16  # what the fee left over
    assert await seam.booked("ETH", "deposit") == left
    assert await seam.balance(person, "ETH") == before
    [gas] = await seam.rows("SELECT gas_fee_wei FROM chain_intents")
    async with seam.db.transaction() as session:
        spent = await ledger.balance_of(session, accounts.gas_expense("local", "ETH"))
    assert spent == gas.gas_fee_wei > 0  # by the house
    assert await all_agrees(seam)
    await sweep(seam)  # what is left is not worth its gas
    assert len(await kinds(seam)) == 1


async def test_tokens_get_gas_first_where_delegations_are_not_known(opened: Open) -> None:
    seam = await opened("prefund")
    person, address = await person_with(seam, usdc="500")
    await sweep(seam)
    assert await kinds(seam) == [("top_up", "ETH", "done")]
    assert await all_agrees(seam)
    await sweep(seam)
    assert await kinds(seam) == [("top_up", "ETH", "done"), ("token", "USDC", "done")]
    assert await seam.on_chain(address, "USDC") == 0
    assert await seam.booked("USDC", "deposit") == 0
    assert (await seam.balance(person, "USDC")).available_minor == 500_000_000
    deposits = await seam.rows("SELECT status FROM deposits WHERE to_address = :a", a=address)
    assert sorted(row.status for row in deposits) == ["credited", "ignored"]  # gas is no deposit
    assert await all_agrees(seam)


async def test_the_treasury_may_be_the_warm_address(
    db: Database, anvil: AnvilProcess, tmp_path: Path
) -> None:
    """Two operators have to agree before what was swept can leave again."""
    operators = [Account.from_key(bytes([number]) * 32).address for number in (7, 8)]
    seam = await Seam.open(db, anvil.url, tmp_path / "signer", sweeps="prefund", warm=operators)
    warm = seam.desk.warm_address
    assert warm is not None
    seam.network = replace(seam.network, contracts={**seam.network.contracts, "treasury": warm})
    [(chain_id, chain)] = seam.desk.policy.chains.items()
    listed = replace(chain, sweep_to=frozenset({warm}))
    seam.desk.policy = replace(seam.desk.policy, chains={chain_id: listed})
    seam.restart_worker()
    await seam.fund_house()
    await person_with(seam, eth="2", usdc="500")
    for _ in range(3):
        await sweep(seam)
        assert await all_agrees(seam)
    assert {row[1] for row in await kinds(seam) if row[2] == "done"} == {"ETH", "USDC"}
    assert await seam.booked("USDC", "warm") == await seam.on_chain(warm, "USDC") == 500_000_000
    assert await seam.booked("ETH", "warm") == await seam.on_chain(warm, "ETH") > 10**18
    await seam.close()


async def test_many_tokens_leave_in_one_transaction_by_delegation(opened: Open) -> None:
    seam = await opened("eip7702")
    people = [await person_with(seam, usdc=str(100 + n)) for n in range(3)]
    await sweep(seam)
    assert await kinds(seam) == [("delegated", "USDC", "done")]
    for person, address in people:
        assert await seam.on_chain(address, "USDC") == 0
        assert (await seam.chain.code(address))[:3] == b"\xef\x01\x00"
        assert await seam.address(person) != address  # its owner is shown a fresh one
    assert await seam.booked("USDC", "deposit") == 0
    assert await all_agrees(seam)
    [first, *_] = people
    await seam.pay_in(first[1], "7", "USDC")  # the old one goes on receiving, and is swept again
    await seam.finish()
    await sweep(seam)
    assert [row[2] for row in await kinds(seam)] == ["done", "done"]
    assert (await seam.balance(first[0], "USDC")).available_minor == 107_000_000
    types = await seam.rows("SELECT unsigned FROM chain_attempts WHERE kind = 'pay' ORDER BY seq")
    assert sorted(bytes(row.unsigned)[0] for row in types) == [2, 4]
    assert await all_agrees(seam)


@pytest.mark.parametrize("fork", ["cancun"])
async def test_a_node_that_knows_no_delegations_is_not_sent_any(
    db: Database, tmp_path: Path, fork: str
) -> None:
    """The registry may say more than the node can: a transaction that the node calls malformed
    would hold the house's nonce and every payment behind it."""
    with AnvilProcess(extra=("--hardfork", fork)) as older:
        seam = await Seam.open(db, older.url, tmp_path / "signer", sweeps="eip7702")
        try:
            await seam.fund_house()
            people = [await person_with(seam, usdc="100") for _ in range(2)]
            await sweep(seam)
            await sweep(seam)
            top_up, token = ("top_up", "ETH", "done"), ("token", "USDC", "done")
            assert await kinds(seam) == [top_up, top_up, token, token]
            assert [await seam.on_chain(address, "USDC") for _, address in people] == [0, 0]
            payee = "0x" + "b0b" * 13 + "e"
            await seam.withdraw(people[0][0], "50", "USDC", checked(payee))
            await seam.finish()
            assert await seam.on_chain(checked(payee), "USDC") == 50_000_000
            assert await all_agrees(seam)
        finally:
            await seam.close()


async def test_a_node_that_overlooks_delegations_is_not_sent_any(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    seam = await opened("eip7702")
    await person_with(seam, usdc="100")
    asked = ChainClient.estimate_gas

    async def overlooks(self: ChainClient, *call: Any) -> int:
        return await asked(self, *call[:4])

    monkeypatch.setattr(ChainClient, "estimate_gas", overlooks)
    signed = []
    sign = seam.signer.sign_authorization

    async def counted(**wish: Any) -> bytes:
        signed.append(wish["address"])
        return await sign(**wish)

    monkeypatch.setattr(seam.signer, "sign_authorization", counted)
    await sweep(seam)
    assert await kinds(seam) == [("top_up", "ETH", "done")]
    await sweep(seam)
    assert await kinds(seam) == [("top_up", "ETH", "done"), ("token", "USDC", "done")]
    assert len(signed) == 1  # refused once: nothing is signed to be thrown away


async def test_a_node_that_has_too_much_to_do_makes_nobody_pay_for_gas(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    seam = await opened("eip7702")
    await person_with(seam, usdc="100")
    asked = ChainClient.estimate_gas

    async def busy(self: ChainClient, *call: Any) -> int:
        if len(call) > 4:
            raise NodeRejected(-32005, "limit exceeded", None)
        return await asked(self, *call)

    monkeypatch.setattr(ChainClient, "estimate_gas", busy)
    await sweep(seam)
    assert await kinds(seam) == []
    monkeypatch.undo()
    await sweep(seam)
    assert await kinds(seam) == [("delegated", "USDC", "done")]


async def test_where_coins_came_an_address_is_never_delegated(opened: Open) -> None:
    seam = await opened("eip7702")
    _, address = await person_with(seam, eth="1", usdc="500")
    for _ in range(3):
        await sweep(seam)
    assert {row[0] for row in await kinds(seam)} == {"token", "coin"}
    assert await seam.chain.code(address) == b""
    assert await seam.on_chain(address, "USDC") == 0
    assert await all_agrees(seam)


async def test_key_less_addresses_are_flushed_by_their_factory(opened: Open) -> None:
    seam = await opened("create2")
    people = [await person_with(seam, eth="1", usdc="50") for _ in range(2)]
    await sweep(seam)
    assert await kinds(seam) == [("flush", "ETH", "done")]
    for person, address in people:
        assert await seam.on_chain(address, "USDC") == 0
        assert await seam.on_chain(address, "ETH") == 0
        assert (await seam.balance(person, "ETH")).available_minor == 10**18
    assert await seam.booked("USDC", "deposit") == await seam.booked("ETH", "deposit") == 0
    assert await all_agrees(seam)
    await seam.pay_in(people[0][1], "2", "ETH")  # the same address works again
    await seam.finish()
    await sweep(seam)
    assert await seam.on_chain(people[0][1], "ETH") == 0
    assert await all_agrees(seam)


async def test_coins_that_our_own_sweep_moves_inside_are_no_deposits(opened: Open) -> None:
    """Key-less addresses pay the treasury by a self-destruct, which a tracing node shows."""
    seam = await opened("create2")
    seam.network = replace(seam.network, supports=("traces",))
    seam.restart_worker()
    person, _ = await person_with(seam, eth="1", usdc="50")
    await sweep(seam)
    assert await kinds(seam) == [("flush", "ETH", "done")]
    assert (await seam.balance(person, "ETH")).available_minor == 10**18
    assert await seam.rows("SELECT 1 FROM deposits WHERE trace_path <> ''") == []
    assert await all_agrees(seam)


@pytest.mark.parametrize("kind", ["prefund", "eip7702", "create2"])
async def test_every_moment_of_a_sweep_reconciles(opened: Open, kind: Kind) -> None:
    seam = await opened(kind)
    await person_with(seam, eth="1", usdc="50")
    for _ in range(3):
        await seam.sweeper.tick()
        for _ in range(seam.network.confirmations + 3):
            await seam.mine()
            assert await all_agrees(seam)
    assert await seam.booked("USDC", "deposit") == 0
    assert {row[2] for row in await kinds(seam)} == {"done"}


async def test_nothing_unfinal_and_nothing_small_is_swept(opened: Open) -> None:
    seam = await opened("prefund")
    person = await seam.person()
    address = await seam.address(person)
    await seam.pay_in(address, "3", "ETH")
    await seam.mine()
    await seam.sweeper.tick()
    assert await kinds(seam) == []
    await seam.finish()
    fees = await seam.chain.fees()
    dust = await seam.address(await seam.person())
    tiny = COIN_WORTH * 21_000 * (fees.base_fee + fees.tip) // 4
    await seam.dev.wait_mined(await seam.dev.send_native(dust, tiny))
    await seam.finish()
    await sweep(seam)
    assert await kinds(seam) == [("coin", "ETH", "done")]
    assert await seam.on_chain(dust, "ETH") == tiny
    assert await all_agrees(seam)


async def test_tokens_below_the_listed_minimum_stay(opened: Open) -> None:
    seam = await opened("eip7702")
    token = replace(seam.network.tokens[0], sweep_min=60_000_000)
    seam.network = replace(seam.network, tokens=(token,))
    seam.restart_worker()
    await person_with(seam, usdc="59")
    await sweep(seam)
    assert await kinds(seam) == []
    await person_with(seam, usdc="60")
    await sweep(seam)
    rows = await seam.rows("SELECT address FROM sweep_accounts")
    assert len(rows) == 1


async def test_without_a_treasury_nothing_moves(seam: Seam) -> None:
    await person_with(seam, eth="5")
    await sweep(seam)
    assert await kinds(seam) == []


async def test_a_treasury_nobody_knows_gets_nothing(opened: Open) -> None:
    seam = await opened("prefund")
    await person_with(seam, eth="5")
    seam.network = replace(
        seam.network, contracts={**seam.network.contracts, "treasury": seam.faucet}
    )
    seam.restart_worker()
    await sweep(seam)
    assert await kinds(seam) == []


async def test_a_rows_recipient_that_somebody_altered_is_never_paid(
    opened: Open, database: ScratchDatabase
) -> None:
    """Who writes into the database cannot send a sweep elsewhere: neither worker nor signer."""
    seam = await opened("prefund")
    _, address = await person_with(seam, eth="5")
    await seam.sweeper.tick()
    stranger = "0x00000000000000000000000000000000000000AA"
    owner = Database(database.owner_url)
    async with owner.transaction() as session:
        await session.execute(text("ALTER TABLE chain_intents DISABLE TRIGGER USER"))
        await session.execute(text("UPDATE chain_intents SET to_address = :to"), {"to": stranger})
        await session.execute(text("ALTER TABLE chain_intents ENABLE TRIGGER USER"))
    await owner.dispose()
    await seam.finish()
    assert await seam.on_chain(stranger, "ETH") == 0
    assert await seam.on_chain(address, "ETH") == 5 * 10**18


async def test_two_sweepers_start_one_sweep(opened: Open) -> None:
    seam = await opened("prefund")
    await person_with(seam, eth="5")
    await seam.sweeper.tick()
    await seam.sweeper.tick()
    await seam.finish()
    assert await kinds(seam) == [("coin", "ETH", "done")]


async def bar(seam: Seam, address: str) -> None:
    """The token's issuer lets nothing leave the address any more."""
    [token] = seam.network.tokens
    data = keccak(text="setBlacklisted(address,bool)")[:4] + encode(
        ["address", "bool"], [address, True]
    )
    await seam.opened[0].call(
        "eth_sendTransaction",
        ({"from": seam.faucet, "to": token.contract, "data": "0x" + data.hex()},),
    )


@pytest.mark.parametrize("kind", ["prefund", "eip7702", "create2"])
async def test_an_address_its_token_bars_keeps_none_of_the_others(opened: Open, kind: Kind) -> None:
    """Nor does it burn the house's gas at every look."""
    seam = await opened(kind, "RegulatedToken")
    _, barred = await person_with(seam, usdc="900")  # the most: it is looked at first
    _, other = await person_with(seam, usdc="500")
    await bar(seam, barred)
    for _ in range(4):
        await sweep(seam)
    assert await seam.on_chain(other, "USDC") == 0
    assert await seam.on_chain(barred, "USDC") == 900_000_000
    rows = await seam.rows("SELECT count(*) AS n FROM sweep_accounts WHERE address = :a", a=barred)
    assert rows[0].n <= 1
    assert await all_agrees(seam)


async def test_nothing_is_swept_to_a_hot_address_that_is_given_up(opened: Open) -> None:
    """Neither while it is emptied nor afterwards, nor what was queued before."""
    seam = await opened("prefund")
    treasury = seam.network.contracts["treasury"]
    _, address = await person_with(seam, eth="5")
    await seam.sweeper.tick()  # promised, not sent
    assert await kinds(seam) == [("coin", "ETH", "open")]
    async with seam.operators.transaction() as session:
        await session.execute(
            text("INSERT INTO network_freezes (network, reason, evacuate_to, by_whom)"
                 " VALUES ('local', 'key lost', :cold, 'ada')"),
            {"cold": "0x" + "c0" * 20},
        )  # fmt: skip
    await seam.finish()
    assert await seam.on_chain(address, "ETH") == 5 * 10**18
    _, later = await person_with(seam, eth="7")
    await sweep(seam)
    async with seam.operators.transaction() as session:
        await session.execute(text("DELETE FROM network_freezes"))
        await signers.halt_signer(
            session, network="local", address=treasury, reason=signers.COMPROMISED
        )
    await sweep(seam)
    await sweep(seam)
    assert await seam.on_chain(address, "ETH") == 5 * 10**18
    assert await seam.on_chain(later, "ETH") == 7 * 10**18
    assert len(await kinds(seam)) == 1


async def test_nor_where_its_key_was_lost_on_another_network(opened: Open) -> None:
    """A key is the same on all of them."""
    seam = await opened("prefund")
    treasury = seam.network.contracts["treasury"]
    _, address = await person_with(seam, eth="5")
    async with seam.operators.transaction() as session:
        await signers.add_signer(session, network="elsewhere", address=treasury, next_nonce=0)
        await signers.halt_signer(
            session, network="elsewhere", address=treasury, reason=signers.COMPROMISED
        )
    await sweep(seam)
    assert await seam.on_chain(address, "ETH") == 5 * 10**18 and await kinds(seam) == []


async def test_who_signed_a_delegation_is_shown_another_address_though_the_sweep_reverts(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An authorisation counts even where its transaction reverts."""
    seam = await opened("eip7702")
    person, address = await person_with(seam, usdc="500")
    monkeypatch.setattr(sweeper, "GAS_OF_BATCH", 50_000)
    monkeypatch.setattr(sweeper, "GAS_OF_ADDRESS", 0)
    await seam.sweeper.tick()
    assert await seam.address(person) != address  # what was signed may be used by anybody now
    await seam.finish()
    assert await kinds(seam) == [("delegated", "USDC", "failed")]
    assert (await seam.chain.code(address))[:3] == b"\xef\x01\x00"
    assert await all_agrees(seam)

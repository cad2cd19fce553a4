"""Hot to cold and profit, proposed and approved by different people; and the day a key is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from chain.address import checked
from chain.testing import AnvilProcess
from wallet import custody, ledger
from wallet.db import Database
from wallet.errors import FourEyesRequired, InvalidField, InvalidState
from wallet.ledger import accounts
from wallet.money import Money
from wallet.onchain import ChainUnavailable, signers
from wallet.testing.pace import patience
from wallet.testing.seam import Seam
from wallet.treasury import moves
from wallet.treasury.watch import COMPROMISED, STANDBY

COLD = checked("0x00000000000000000000000000000000c01d0001")
OWNERS = checked("0x000000000000000000000000000000000f00d002")
DRILL_SECONDS = 60.0


@pytest.fixture
async def seam(db: Database, anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await Seam.open(db, anvil.url, tmp_path / "signer", hot_keys=2, cold=COLD)
    await seam.fund_house()
    yield seam
    await seam.close()


async def bounds(seam: Seam, asset: str, low: str, high: str) -> None:
    async with seam.operators.transaction() as session:
        await session.execute(
            text("INSERT INTO float_bounds (network, asset, low_minor, high_minor, set_by)"
                 " VALUES ('local', :asset, :low, :high, 'ops')"),
            {
                "asset": asset, "low": seam.money(low, asset).minor,
                "high": seam.money(high, asset).minor,
            },
        )  # fmt: skip


async def listed(seam: Seam) -> list[moves.Move]:
    async with seam.operators.transaction() as session:
        return await moves.moves(session, seam.assets, network="local", open_only=False)


async def approve(seam: Seam, move_id: str, by: str) -> None:
    sender = (await seam.signer.hot_addresses())[0]
    async with seam.operators.transaction() as session:
        await moves.approve(
            session, move_id, by=by, chain=seam.chain, sender=sender, assets=seam.assets
        )


async def test_above_the_bound_a_move_to_cold_is_proposed_approved_and_booked(seam: Seam) -> None:
    await bounds(seam, "USDC", "10000", "50000")
    await seam.treasury.tick()
    await seam.treasury.tick()
    [proposed] = await listed(seam)
    assert (proposed.kind, proposed.state, str(proposed.money)) == (
        "to_cold", "proposed", "170000.000000 USDC",
    )  # fmt: skip
    small = seam.money("40000", "USDC")
    async with seam.operators.transaction() as session:
        await moves.dismiss(session, proposed.id, by="ada")
        move_id = await moves.propose(
            session, network="local", money=small, kind="to_cold",
            to_address=COLD, by="ada",
        )  # fmt: skip
    with pytest.raises(FourEyesRequired):
        await approve(seam, move_id, "ada")
    await approve(seam, move_id, "bob")
    with pytest.raises(InvalidState):
        await approve(seam, move_id, "bob")
    for _ in range(seam.network.confirmations + 4):
        await seam.mine()
        assert await seam.differences() == []
    assert await seam.on_chain(COLD, "USDC") == small.minor
    assert await seam.booked("USDC", "cold") == small.minor
    assert (await listed(seam))[-1].state == "done"


async def test_below_the_bound_a_refill_is_asked_for(seam: Seam) -> None:
    await bounds(seam, "ETH", "300", "500")
    await seam.treasury.tick()
    [proposed] = await listed(seam)
    assert (proposed.kind, str(proposed.money)) == ("refill", "200.000000000000000000 ETH")
    with pytest.raises(InvalidState):
        await approve(seam, proposed.id, "ada")


async def test_only_a_cold_address_of_the_house_is_cold(seam: Seam) -> None:
    async with seam.operators.transaction() as session:
        with pytest.raises(InvalidField):
            await moves.propose(
                session, network="local", money=seam.money("1", "ETH"), kind="to_cold",
                to_address=OWNERS, by="ada",
            )  # fmt: skip


async def test_profit_leaves_the_house(seam: Seam) -> None:
    """Booked as taken, and still here: the chain would have more than the books for good."""
    inside = [*await seam.signer.hot_addresses(), await seam.address(await seam.person())]
    for address in inside:
        async with seam.operators.transaction() as session:
            with pytest.raises(InvalidField, match="here"):
                await moves.propose(
                    session, network="local", money=seam.money("1", "ETH"), kind="profit",
                    to_address=address, by="ada",
                )  # fmt: skip


async def test_profit_is_what_was_earned_and_no_more(seam: Seam) -> None:
    earned = seam.money("25", "USDC")
    async with seam.operators.transaction() as session:
        await ledger.post(
            session,
            ledger.Command(
                kind="test",
                ref="earned",
                lines=[
                    ledger.Line(accounts.capital("USDC"), Money(-earned.minor, earned.asset)),
                    ledger.Line(accounts.spread_income("USDC"), earned),
                ],
            ),
        )  # fmt: skip
        too_much = await moves.propose(
            session, network="local", money=seam.money("26", "USDC"), kind="profit",
            to_address=OWNERS, by="ada",
        )  # fmt: skip
    with pytest.raises(InvalidField):
        await approve(seam, too_much, "bob")
    async with seam.operators.transaction() as session:
        await moves.dismiss(session, too_much, by="ada")
        fair = await moves.propose(
            session, network="local", money=seam.money("25", "USDC"), kind="profit",
            to_address=OWNERS, by="ada",
        )  # fmt: skip
    await approve(seam, fair, "bob")
    await seam.finish()
    assert await seam.on_chain(OWNERS, "USDC") == 25_000_000
    async with seam.operators.transaction() as session:
        assert await moves.profit(session, "USDC") == 0
    assert await seam.differences() == []


async def test_what_the_house_bore_anywhere_is_no_profit(seam: Seam) -> None:
    """Goodwill, and gas and losses of another network than the one that the profit leaves on."""
    bore = (
        accounts.correction_expense("USDC"),
        accounts.gas_expense("other", "USDC"),
        accounts.chain_loss_expense("other", "USDC"),
    )
    earned, each = seam.money("25", "USDC"), seam.money("5", "USDC")
    rest = Money(len(bore) * each.minor - earned.minor, each.asset)
    async with seam.operators.transaction() as session:
        await ledger.post(
            session,
            ledger.Command(
                kind="test",
                ref="bore",
                lines=[
                    ledger.Line(accounts.capital("USDC"), rest),
                    ledger.Line(accounts.spread_income("USDC"), earned),
                    *(ledger.Line(one, Money(-each.minor, each.asset)) for one in bore),
                ],
            ),
        )  # fmt: skip
        move = await moves.propose(
            session, network="local", money=seam.money("11", "USDC"), kind="profit",
            to_address=OWNERS, by="ada",
        )  # fmt: skip
    with pytest.raises(InvalidField, match=r"Only 10\.000000 USDC was earned"):
        await approve(seam, move, "bob")


async def test_profit_on_its_way_is_not_earned_again(seam: Seam) -> None:
    """Two moves, each within what is booked, would take it twice: out of customers' money."""
    earned = seam.money("25", "USDC")
    async with seam.operators.transaction() as session:
        await ledger.post(
            session,
            ledger.Command(
                kind="test",
                ref="earned",
                lines=[
                    ledger.Line(accounts.capital("USDC"), Money(-earned.minor, earned.asset)),
                    ledger.Line(accounts.spread_income("USDC"), earned),
                ],
            ),
        )  # fmt: skip

    async def propose(amount: str) -> str:
        async with seam.operators.transaction() as session:
            return await moves.propose(
                session, network="local", money=seam.money(amount, "USDC"), kind="profit",
                to_address=OWNERS, by="ada",
            )  # fmt: skip

    await approve(seam, await propose("20"), "bob")
    again = await propose("20")
    with pytest.raises(InvalidField, match=r"Only 5\.000000 USDC was earned"):
        await approve(seam, again, "bob")
    await seam.finish()
    with pytest.raises(InvalidField):
        await approve(seam, again, "bob")
    assert await seam.on_chain(OWNERS, "USDC") == 20_000_000


async def test_nor_is_it_by_two_operators_who_approve_at_once(seam: Seam) -> None:
    """One move on each of two networks: neither sees the other's."""
    earned, sender = seam.money("25", "USDC"), (await seam.signer.hot_addresses())[0]
    capital = ledger.Line(accounts.capital("USDC"), Money(-earned.minor, earned.asset))
    lines = [capital, ledger.Line(accounts.spread_income("USDC"), earned)]
    async with seam.operators.transaction() as session:
        await ledger.post(session, ledger.Command(kind="test", ref="earned", lines=lines))
        here, there = [
            await moves.propose(
                session, network=network, money=seam.money("20", "USDC"), kind="profit",
                to_address=OWNERS, by="ada",
            )
            for network in ("local", "elsewhere")
        ]  # fmt: skip
    async with seam.operators.transaction() as session:
        await moves.approve(
            session, here, by="bob", chain=seam.chain, sender=sender, assets=seam.assets
        )
        other = asyncio.create_task(approve(seam, there, "eve"))
        await asyncio.sleep(0.5)
    with pytest.raises(InvalidField, match=r"Only 5\.000000 USDC was earned"):
        await other


async def test_capital_is_what_waits_to_be_told(seam: Seam) -> None:
    """Coins from nobody known that came to a hot address become capital when somebody says so."""
    hot = (await seam.signer.hot_addresses())[0]
    [payer] = (await seam.dev.accounts())[1:2]
    rpc = seam.opened[0]
    await rpc.call("eth_sendTransaction", ({"from": payer, "to": hot, "value": hex(3 * 10**18)},))
    await seam.finish()
    async with seam.operators.transaction() as session:
        with pytest.raises(InvalidField):
            await moves.fund(session, money=seam.money("4", "ETH"), by="ada")
        before = await ledger.balance_of(session, accounts.capital("ETH"))
        await moves.fund(session, money=seam.money("3", "ETH"), by="ada")
        after = await ledger.balance_of(session, accounts.capital("ETH"))
    assert after - before == 3 * 10**18


async def test_the_drill_brings_everything_to_cold_and_changes_the_hot_address(seam: Seam) -> None:
    """One command freezes, rotates, and sweeps to cold: all of the value, in under 60 s."""
    ada = await seam.funded_person()
    first, second = await seam.signer.hot_addresses()
    held = await seam.withdraw(ada, "1", "USDC", OWNERS)
    await seam.finish()
    async with seam.operators.transaction() as session:
        await signers.halt_signer(session, network="local", address=second, reason=STANDBY)
    tokens = await seam.on_chain(first, "USDC")
    coins = await seam.on_chain(first, "ETH")
    began = time.monotonic()
    async with seam.operators.transaction() as session:
        await session.execute(
            text("INSERT INTO network_freezes (network, reason, evacuate_to, by_whom)"
                 " VALUES ('local', 'key lost', :cold, 'ada')"),
            {"cold": COLD},
        )  # fmt: skip
    with pytest.raises(ChainUnavailable):
        await seam.withdraw(ada, "1", "USDC", OWNERS)
    for _ in range(40):
        await seam.treasury.tick()
        await seam.mine(seam.network.confirmations)
        assert await seam.differences() == []
        async with seam.operators.transaction() as session:
            rows = {r.address: r for r in await signers.all_signers(session, "local")}
        if rows[first].halted_reason == COMPROMISED:
            break
    assert time.monotonic() - began < patience(DRILL_SECONDS)
    assert rows[first].halted_reason == COMPROMISED
    assert rows[second].halted_reason is None  # it has taken over
    assert await seam.on_chain(COLD, "USDC") == tokens
    assert await seam.on_chain(first, "USDC") == 0
    assert await seam.on_chain(first, "ETH") == 0  # not a wei is left behind
    gas = coins - await seam.on_chain(COLD, "ETH")
    assert 0 < gas < 10**16
    assert (await seam.withdrawal(ada, held.id)).status == "settled"
    async with seam.operators.transaction() as session:
        await session.execute(text("DELETE FROM network_freezes"))
        assert (await custody.house_addresses(session, network="local"))[first] == "hot"
    made = await seam.withdraw(ada, "1", "USDC", OWNERS)
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "settled"
    [intent] = await seam.rows("SELECT from_address FROM chain_intents WHERE ref = :r", r=made.id)
    assert intent.from_address == second
    assert await seam.differences() == []


async def test_a_token_that_refuses_keeps_nothing_else_from_cold(
    db: Database, anvil: AnvilProcess, tmp_path: Path
) -> None:
    """Its issuer has paused it on the day the key is lost."""
    seam = await Seam.open(
        db, anvil.url, tmp_path / "signer", cold=COLD, contract_name="RegulatedToken"
    )
    await seam.fund_house()
    [hot] = await seam.signer.hot_addresses()
    [token] = seam.network.tokens
    pause = {"from": seam.faucet, "to": token.contract, "data": "0x8456cb59"}
    await seam.opened[0].call("eth_sendTransaction", (pause,))
    async with seam.operators.transaction() as session:
        await session.execute(
            text("INSERT INTO network_freezes (network, reason, evacuate_to, by_whom)"
                 " VALUES ('local', 'key lost', :cold, 'ada')"),
            {"cold": COLD},
        )  # fmt: skip
    for _ in range(6):
        await seam.treasury.tick()
        await seam.mine(seam.network.confirmations)
    assert await seam.on_chain(hot, "ETH") == 0
    assert await seam.on_chain(COLD, "ETH") > 99 * 10**18
    async with seam.operators.transaction() as session:
        [row] = await signers.all_signers(session, "local")
    assert row.halted_reason == COMPROMISED
    assert await seam.differences() == []
    await seam.close()


async def test_a_token_that_says_nothing_keeps_nothing_else_from_cold(
    db: Database, anvil: AnvilProcess, tmp_path: Path
) -> None:
    """It reverts whatever it is asked, its balances too."""
    seam = await Seam.open(db, anvil.url, tmp_path / "signer", cold=COLD)
    await seam.fund_house()
    [hot] = await seam.signer.hot_addresses()
    await seam.node("anvil_setCode", seam.network.tokens[0].contract, "0x60006000fd")
    async with seam.operators.transaction() as session:
        await session.execute(
            text("INSERT INTO network_freezes (network, reason, evacuate_to, by_whom)"
                 " VALUES ('local', 'key lost', :cold, 'ada')"),
            {"cold": COLD},
        )  # fmt: skip
    for _ in range(4):
        await seam.treasury.tick()
        await seam.mine(seam.network.confirmations)
    assert await seam.on_chain(hot, "ETH") == 0
    assert await seam.on_chain(COLD, "ETH") > 99 * 10**18
    await seam.close()


async def test_a_frozen_network_sends_nothing_of_customers(seam: Seam) -> None:
    ada = await seam.funded_person()
    made = await seam.withdraw(ada, "1", "USDC", OWNERS)
    async with seam.operators.transaction() as session:
        await session.execute(
            text("INSERT INTO network_freezes (network, reason, by_whom)"
                 " VALUES ('local', 'a look', 'ada')")
        )  # fmt: skip
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "held"
    async with seam.operators.transaction() as session:
        await session.execute(text("DELETE FROM network_freezes"))
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "settled"

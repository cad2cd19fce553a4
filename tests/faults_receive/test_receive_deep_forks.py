"""D2: a fork below finality. Losses have a name, people decide, nothing is credited twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from chain.dev import DevNode
from chain.errors import NodeTimeout
from chain.testing import AnvilProcess
from tests.faults_receive.conftest import Inbox
from wallet import ledger, receivables
from wallet.deposits import bearers, forks
from wallet.deposits.losses import losses
from wallet.errors import FourEyesRequired, InvalidState, NotFound
from wallet.ledger import accounts
from wallet.ledger.errors import AccountFrozen
from wallet.money import Money
from wallet.testing.operators import as_operator

ETHER = 10**18
BORNE = accounts.chain_loss_expense("local", "ETH")
_RESUME = text("UPDATE network_state SET halted_reason = NULL, halted_at = NULL")


async def suspense(inbox: Inbox, asset: str = "ETH") -> int:
    async with inbox.seam.db.transaction() as session:
        return await ledger.balance_of(session, accounts.chain_loss("local", asset))


async def halted(inbox: Inbox) -> str | None:
    [state] = await inbox.seam.rows("SELECT halted_reason FROM network_state")
    return state.halted_reason  # type: ignore[no-any-return]


async def entries(inbox: Inbox) -> list[str]:
    rows = await inbox.seam.rows(
        "SELECT kind FROM entries WHERE kind LIKE 'deposit_lo%' ORDER BY created_at, id"
    )
    return [row.kind for row in rows]


async def deep_fork(inbox: Inbox, *, assets: tuple[str, ...] = ("ETH",)) -> list[object]:
    """Credited, then gone: the raw transactions that paid. Two more blocks than were final."""
    seam = inbox.seam
    await seam.mine(20)  # the house's own coins lie deeper than any fork here
    raws = []
    for asset in assets:
        mined = await seam.pay_in(inbox.address, "1", asset)
        raws.append(await seam.node("eth_getRawTransactionByHash", mined.tx_hash))
    await seam.mine(10)
    assert [row[1] for row in await inbox.rows()] == ["credited"] * len(assets)
    await seam.dev.reorg(10 + len(assets))
    await seam.mine(1)
    assert "reorganised" in str(await halted(inbox))
    return raws


async def follow(inbox: Inbox) -> None:
    """One proposes, another agrees."""
    found = await forks.fork(inbox.seam.db, inbox.seam.chain)
    async with as_operator(inbox.seam.db) as session:
        await forks.propose(session, found, by="al")
    async with as_operator(inbox.seam.db) as session:
        await forks.approve(session, inbox.seam.assets, found, by="bea")


async def test_d02_a_loss_has_a_name_and_the_customer_keeps_what_was_credited(
    inbox: Inbox,
) -> None:
    seam = inbox.seam
    await deep_fork(inbox, assets=("ETH", "USDC"))
    for _ in range(3):
        await seam.mine(1)  # halted: nothing is booked again
    assert (await suspense(inbox), await suspense(inbox, "USDC")) == (ETHER, 10**6)
    assert (await inbox.total("ETH"), await inbox.total("USDC")) == (ETHER, 10**6)
    assert await seam.booked("ETH", "deposit") == 0
    async with seam.db.transaction() as session:
        found = await losses(session, seam.assets)
        trial = await ledger.trial_balance(session)
    assert [(one.principal_id, one.money.minor) for one in found] == [
        (inbox.ada, ETHER), (inbox.ada, 10**6),
    ]  # fmt: skip
    assert set(trial.values()) == {0}
    assert await entries(inbox) == ["deposit_lost"] * 2


async def test_d02_books_equal_the_chain_that_is_followed_and_the_network_goes_on(
    inbox: Inbox,
) -> None:
    seam = inbox.seam
    await deep_fork(inbox)
    await follow(inbox)
    assert await halted(inbox) is None
    await seam.finish()
    await inbox.finder.tick()
    assert await seam.differences() == []
    assert (await suspense(inbox), await inbox.total("ETH")) == (ETHER, ETHER)
    await seam.pay_in(inbox.address, "2", "ETH")
    await seam.finish()
    await inbox.finder.tick()
    assert await inbox.total("ETH") == 3 * ETHER
    assert await seam.differences() == [] and await entries(inbox) == ["deposit_lost"]
    assert await seam.rows("SELECT 1 FROM unattributed_arrivals") == []


@pytest.mark.parametrize("asset", ["ETH", "USDC"])
async def test_d02_the_same_transfer_mined_again_undoes_its_loss_and_credits_nobody_twice(
    inbox: Inbox, asset: str
) -> None:
    seam = inbox.seam
    [raw] = await deep_fork(inbox, assets=(asset,))
    await follow(inbox)
    await seam.mine(2)
    await seam.node("eth_sendRawTransaction", raw)
    await seam.mine(2)
    one = seam.money("1", asset).minor
    assert await suspense(inbox, asset) == one  # in a block, not final
    assert await seam.differences() == []
    await seam.dev.reorg(3)  # and out of it again
    await seam.mine(4)
    assert await suspense(inbox, asset) == one and await seam.differences() == []
    await seam.node("eth_sendRawTransaction", raw)
    await seam.finish()
    await inbox.finder.tick()
    assert (await suspense(inbox, asset), await inbox.total(asset)) == (0, one)
    assert await entries(inbox) == ["deposit_lost", "deposit_loss_returned"]
    assert await seam.differences() == []
    assert await seam.rows("SELECT 1 FROM unattributed_arrivals") == []
    assert len(await inbox.rows()) == 1


async def test_d02_when_the_first_chain_was_right_the_loss_is_undone(
    inbox: Inbox, tmp_path: Path
) -> None:
    """A node that was on a wrong fork for a while, then replaced."""
    seam = inbox.seam
    await seam.mine(20)
    await seam.pay_in(inbox.address, "1", "ETH")
    await seam.mine(10)
    state = tmp_path / "right.json"
    state.write_bytes(await seam.dev.dump_state())
    await seam.dev.reorg(11)
    await seam.mine(1)
    assert await suspense(inbox) == ETHER and await halted(inbox)
    with AnvilProcess(load_state=state) as right:
        rpc = right.rpc()
        seam.opened.insert(0, rpc)
        seam.dev, inbox.meddler.inner = DevNode(rpc), rpc
        async with seam.operators.transaction() as session:
            await session.execute(_RESUME)
        await seam.finish()
        assert await halted(inbox) is None
        assert (await suspense(inbox), await inbox.total("ETH")) == (0, ETHER)
        assert await entries(inbox) == ["deposit_lost", "deposit_loss_returned"]
        assert await seam.differences() == []


async def test_d02_resuming_alone_follows_nothing(inbox: Inbox) -> None:
    seam = inbox.seam
    await deep_fork(inbox)
    async with seam.operators.transaction() as session:
        await session.execute(_RESUME)
    await seam.mine(2)
    assert "reorganised" in str(await halted(inbox))
    assert await suspense(inbox) == ETHER and await entries(inbox) == ["deposit_lost"]


async def test_d02_a_fork_is_followed_by_two_people_who_saw_the_same(inbox: Inbox) -> None:
    seam = inbox.seam
    with pytest.raises(InvalidState):
        await forks.fork(seam.db, seam.chain)  # nothing is wrong
    await deep_fork(inbox)
    found = await forks.fork(seam.db, seam.chain)
    async with as_operator(seam.db) as session:
        with pytest.raises(NotFound):
            await forks.approve(session, seam.assets, found, by="bea")
    async with as_operator(seam.db) as session:
        await forks.propose(session, found, by="al")
    async with as_operator(seam.db) as session:
        with pytest.raises(FourEyesRequired):
            await forks.approve(session, seam.assets, found, by="al")
    head = await seam.chain.head()
    await seam.dev.reorg(head.number - found.number)
    other = await forks.fork(seam.db, seam.chain)
    assert other.number == found.number and other.next_hash != found.next_hash
    async with as_operator(seam.db) as session:
        with pytest.raises(InvalidState):
            await forks.approve(session, seam.assets, other, by="bea")
    assert await halted(inbox)


async def test_d02_what_came_to_the_house_itself_is_taken_back_to_where_it_came_from(
    inbox: Inbox,
) -> None:
    seam = inbox.seam
    [hot] = await seam.signer.hot_addresses()
    await seam.mine(20)
    before = await seam.booked("ETH", "hot")
    await seam.pay_in(hot, "3", "ETH")
    await seam.mine(10)
    assert await seam.booked("ETH", "hot") == before + 3 * ETHER
    await seam.dev.reorg(11)
    await seam.mine(1)
    assert (await seam.booked("ETH", "hot"), await suspense(inbox)) == (before, 0)
    await follow(inbox)
    await seam.finish()
    assert await seam.differences() == []


async def test_d02_a_crash_while_it_halts_leaves_all_or_nothing(inbox: Inbox) -> None:
    seam = inbox.seam
    await seam.mine(20)
    await seam.pay_in(inbox.address, "1", "ETH")
    await seam.mine(10)
    await seam.dev.reorg(11)
    inbox.meddler.lose_after = {"eth_getBlockByNumber"}
    with pytest.raises(NodeTimeout):
        await seam.chain.head()
    await seam.pass_once()
    assert await entries(inbox) == [] and await halted(inbox) is None
    inbox.meddler.calm()
    await seam.mine(1)
    assert await entries(inbox) == ["deposit_lost"] and await halted(inbox)


async def lost(inbox: Inbox) -> str:
    """Ada's one ETH is gone for good; the other chain is followed."""
    await deep_fork(inbox)
    await follow(inbox)
    async with inbox.seam.db.transaction() as session:
        [loss] = await losses(session, inbox.seam.assets)
    return loss.id


async def bear(inbox: Inbox, loss_id: str, bearer: str) -> None:
    async with as_operator(inbox.seam.db) as session:
        await bearers.propose(session, loss_id, bearer, by="al")
    async with as_operator(inbox.seam.db) as session:
        await bearers.approve(session, inbox.seam.assets, loss_id, by="bea")


async def owed(inbox: Inbox) -> int:
    async with inbox.seam.db.transaction() as session:
        return await ledger.balance_of(session, accounts.receivable(inbox.ada, "ETH"))


async def status(inbox: Inbox) -> str:
    return (await inbox.seam.balance(inbox.ada, "ETH")).status


async def give_away(inbox: Inbox, minor: int) -> None:
    """Ada spends inside the wallet."""
    seam = inbox.seam
    bob = await seam.person()
    money = Money(minor, seam.assets.get("ETH"))
    async with seam.db.transaction() as session:
        await ledger.post(
            session,
            ledger.Command(
                kind="test",
                ref=bob,
                lines=[
                    ledger.Line(accounts.customer(inbox.ada, "ETH"), Money(-minor, money.asset)),
                    ledger.Line(accounts.customer(bob, "ETH"), money),
                ],
            ),
        )


async def test_d02_the_house_bears_it_and_gets_it_back_if_it_comes(inbox: Inbox) -> None:
    seam = inbox.seam
    [raw] = await deep_fork(inbox)
    await follow(inbox)
    async with seam.db.transaction() as session:
        [loss] = await losses(session, seam.assets)
    await bear(inbox, loss.id, "house")
    async with as_operator(seam.db) as session:
        assert await ledger.balance_of(session, BORNE) == ETHER
        assert await losses(session, seam.assets) == []
        with pytest.raises(InvalidState):
            await bearers.propose(session, loss.id, "customer", by="al")
    assert (await suspense(inbox), await inbox.total("ETH"), await owed(inbox)) == (0, ETHER, 0)
    assert await seam.differences() == []
    await seam.node("eth_sendRawTransaction", raw)
    await seam.finish()
    async with seam.db.transaction() as session:
        assert await ledger.balance_of(session, BORNE) == 0
    assert (await suspense(inbox), await inbox.total("ETH")) == (0, ETHER)
    assert await seam.differences() == []


async def test_d02_the_customer_pays_with_what_is_there_and_owes_the_rest(inbox: Inbox) -> None:
    """Never below zero; nothing goes out until it is repaid, by whatever comes in first."""
    seam = inbox.seam
    await deep_fork(inbox)
    await follow(inbox)
    await give_away(inbox, 7 * ETHER // 10)
    async with seam.db.transaction() as session:
        [loss] = await losses(session, seam.assets)
    await bear(inbox, loss.id, "customer")
    assert (await suspense(inbox), await inbox.total("ETH")) == (0, 0)
    assert (await owed(inbox), await status(inbox)) == (7 * ETHER // 10, "frozen")
    collector = receivables.Collector(seam.db, seam.assets)
    await seam.pay_in(inbox.address, "0.2", "ETH")
    await seam.finish()
    with pytest.raises(AccountFrozen):
        await give_away(inbox, 1)
    await collector.tick()
    assert (await owed(inbox), await inbox.total("ETH")) == (5 * ETHER // 10, 0)
    assert await status(inbox) == "frozen"
    await seam.pay_in(inbox.address, "0.8", "ETH")
    await seam.finish()
    for _ in range(2):
        await collector.tick()
    assert (await owed(inbox), await inbox.total("ETH")) == (0, 3 * ETHER // 10)
    assert await status(inbox) == "open"
    await give_away(inbox, 3 * ETHER // 10)
    assert await seam.differences() == []


async def test_d02_a_loss_that_was_charged_and_comes_back_is_credited_again(inbox: Inbox) -> None:
    seam = inbox.seam
    [raw] = await deep_fork(inbox)
    await follow(inbox)
    async with seam.db.transaction() as session:
        [loss] = await losses(session, seam.assets)
    await bear(inbox, loss.id, "customer")
    assert (await inbox.total("ETH"), await owed(inbox), await status(inbox)) == (0, 0, "open")
    await seam.node("eth_sendRawTransaction", raw)
    await seam.finish()
    assert (await inbox.total("ETH"), await suspense(inbox)) == (ETHER, 0)
    assert await seam.differences() == []


async def test_d02_who_bears_it_is_agreed_by_two_and_a_foreign_freeze_stays(inbox: Inbox) -> None:
    seam = inbox.seam
    loss_id = await lost(inbox)
    async with as_operator(seam.db) as session:
        with pytest.raises(InvalidState):
            await bearers.approve(session, seam.assets, loss_id, by="bea")
    async with as_operator(seam.db) as session:
        await bearers.propose(session, loss_id, "customer", by="al")
    async with as_operator(seam.db) as session:
        with pytest.raises(FourEyesRequired):
            await bearers.approve(session, seam.assets, loss_id, by="al")
    await seam.rows(
        "SELECT ledger_set_status(id, 'frozen') FROM accounts WHERE principal_id = :p", p=inbox.ada
    )
    async with as_operator(seam.db) as session:
        await bearers.approve(session, seam.assets, loss_id, by="bea")
    await receivables.Collector(seam.db, seam.assets).tick()
    assert (await owed(inbox), await inbox.total("ETH")) == (ETHER, ETHER)
    assert await status(inbox) == "frozen"
    assert await seam.rows("SELECT 1 FROM receivable_freezes") == []

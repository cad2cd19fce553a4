"""A withdrawal pays exactly once, or not at all, whatever node, signer and process do."""

from __future__ import annotations

import asyncio

import pytest

from chain.faults import NODE_AWAY
from chain.testing import FaultProxy
from wallet.custody import InvalidAddress, UnknownNetwork
from wallet.errors import InvalidState, LimitExceeded, NotFound
from wallet.ledger.errors import InsufficientFunds
from wallet.onchain import ChainUnavailable
from wallet.onchain.prepare import MAX_IN_FLIGHT
from wallet.testing.seam import Seam
from wallet.withdrawals import Withdrawal

OUTSIDE = "0x00000000000000000000000000000000000A11cE"
RETURNS_TRUE_SILENTLY = "0x600160005260206000f3"
REVERTS = "0x60006000fd"


async def _attempts(seam: Seam) -> list[tuple[int, str, str]]:
    rows = await seam.rows(
        "SELECT i.nonce, a.kind, a.tx_hash FROM chain_attempts a"
        " JOIN chain_intents i ON i.id = a.intent_id ORDER BY i.nonce, a.seq"
    )
    return [(row.nonce, row.kind, row.tx_hash) for row in rows]


def _events(withdrawal: Withdrawal) -> list[str]:
    return [event.type.removeprefix("withdrawal.") for event in withdrawal.events]


class TestRefusals:
    @pytest.mark.parametrize(
        "address",
        [
            "0x0000000000000000000000000000000000000000",
            "0x0000000000000000000000000000000000000001",
            "00000000000000000000000000000000000a11ce",
            "0x00000000000000000000000000000000000a11cE",
            "0x1234",
            "",
        ],
    )
    async def test_an_address_that_is_none(self, seam: Seam, address: str) -> None:
        with pytest.raises(InvalidAddress):
            await seam.plan("1", "USDC", address)

    async def test_addresses_of_the_house_and_of_tokens(self, seam: Seam) -> None:
        bob = await seam.person()
        [hot] = await seam.signer.hot_addresses()
        theirs = await seam.address(bob)
        for address in (hot, hot.lower(), theirs, theirs.lower(), seam.network.tokens[0].contract):
            with pytest.raises(InvalidAddress) as refused:
                await seam.plan("1", "USDC", address)
            assert bob not in refused.value.detail

    async def test_another_network_or_a_contract_that_refuses(self, seam: Seam) -> None:
        with pytest.raises(UnknownNetwork):
            await seam.planner.plan(
                network="elsewhere", money=seam.money("1", "USDC"), to_address=OUTSIDE
            )
        await seam.node("anvil_setCode", OUTSIDE, REVERTS)
        with pytest.raises(InvalidAddress):
            await seam.plan("1", "ETH", OUTSIDE)

    async def test_too_little_money_writes_nothing(self, seam: Seam) -> None:
        ada = await seam.funded_person(eth="1", usdc="10")
        for amount, asset in (("1", "ETH"), ("10", "USDC"), ("10.5", "USDC")):
            with pytest.raises(InsufficientFunds):
                await seam.withdraw(ada, amount, asset, OUTSIDE)
        assert await seam.rows("SELECT 1 FROM withdrawals") == []
        assert await seam.rows("SELECT 1 FROM chain_intents") == []
        assert await seam.rows("SELECT 1 FROM holds") == []

    async def test_the_daily_limit(self, seam: Seam) -> None:
        ada = await seam.funded_person(eth="20", usdc="1")
        first = await seam.withdraw(ada, "3", "ETH", OUTSIDE)
        with pytest.raises(LimitExceeded):
            await seam.withdraw(ada, "3", "ETH", OUTSIDE)
        await seam.cancel(ada, first.id)
        await seam.withdraw(ada, "3", "ETH", OUTSIDE)

    async def test_a_node_that_is_away(self, seam: Seam) -> None:
        ada = await seam.funded_person()
        plan = await seam.plan("1", "USDC", OUTSIDE)
        assert plan.money.minor == 1_000_000
        seam.switch.on(NODE_AWAY)
        with pytest.raises(ChainUnavailable):
            await seam.plan("1", "USDC", OUTSIDE)
        seam.switch.off(NODE_AWAY)
        await seam.rows(
            "UPDATE network_state SET as_of = clock_timestamp() - interval '16 s' RETURNING 1"
        )
        with pytest.raises(ChainUnavailable):
            await seam.plan("1", "USDC", OUTSIDE)
        seam.switch.on(NODE_AWAY)
        await seam.observer.tick()
        with pytest.raises(ChainUnavailable):
            await seam.withdraw(ada, "1", "USDC", OUTSIDE)
        seam.switch.off(NODE_AWAY)
        await seam.observer.tick()
        assert (await seam.withdraw(ada, "1", "USDC", OUTSIDE)).status == "held"


class TestCancel:
    async def test_while_held(self, seam: Seam) -> None:
        ada = await seam.funded_person()
        made = await seam.withdraw(ada, "5", "USDC", OUTSIDE)
        gone = await seam.cancel(ada, made.id)
        assert (gone.status, gone.fee.minor) == ("cancelled", 0)
        balance = await seam.balance(ada, "USDC")
        assert (balance.total_minor, balance.held_minor) == (1000 * 10**6, 0)
        await seam.finish()
        assert await seam.on_chain(OUTSIDE, "USDC") == 0
        assert await _attempts(seam) == []

    async def test_too_late_and_by_another(self, seam: Seam) -> None:
        ada, eve = await seam.funded_person(), await seam.person()
        made = await seam.withdraw(ada, "5", "USDC", OUTSIDE)
        with pytest.raises(NotFound):
            await seam.cancel(eve, made.id)
        await seam.runner.tick()
        await seam.mine(1)
        with pytest.raises(InvalidState) as refused:
            await seam.cancel(ada, made.id)
        assert refused.value.extra["state"] == "mined"

    async def test_cancel_and_worker_at_once(self, seam: Seam) -> None:
        """Either it is cancelled and nothing moves, or it is paid and nothing comes back."""
        ada = await seam.funded_person()
        ids = []
        for _ in range(6):
            made = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
            results = await asyncio.gather(
                seam.runner.tick(), seam.cancel(ada, made.id), return_exceptions=True
            )
            assert isinstance(results[1], Withdrawal | InvalidState)
            ids.append(made.id)
        await seam.finish()
        ends = [(await seam.withdrawal(ada, item)).status for item in ids]
        assert set(ends) <= {"cancelled", "settled"}
        paid = ends.count("settled")
        assert await seam.on_chain(OUTSIDE, "USDC") == paid * 1_000_000
        assert await seam.differences() == []


class TestTheChainSaysNo:
    async def test_reverted_on_chain_costs_the_gas_only(self, seam: Seam) -> None:
        ada = await seam.funded_person()
        await seam.automine(False)
        made = await seam.withdraw(ada, "2", "ETH", OUTSIDE)
        await seam.pass_once()
        await seam.node("anvil_setCode", OUTSIDE, REVERTS)
        await seam.automine(True)
        await seam.finish()
        done = await seam.withdrawal(ada, made.id)
        assert (done.status, done.failure_code) == ("failed", "reverted")
        assert 0 < done.fee.minor <= done.fee_max.minor
        balance = await seam.balance(ada, "ETH")
        assert (balance.total_minor, balance.held_minor) == (10 * 10**18 - done.fee.minor, 0)
        assert await seam.differences() == []

    async def test_success_without_a_transfer_goes_to_review(self, seam: Seam) -> None:
        ada = await seam.funded_person()
        made = await seam.withdraw(ada, "2", "USDC", OUTSIDE)
        await seam.automine(False)
        await seam.pass_once()
        await seam.node("anvil_setCode", seam.network.tokens[0].contract, RETURNS_TRUE_SILENTLY)
        await seam.automine(True)
        await seam.finish()
        done = await seam.withdrawal(ada, made.id)
        assert (done.status, done.failure_code) == ("in_review", "no_transfer_event")
        assert (await seam.balance(ada, "USDC")).held_minor > 2_000_000

    async def test_what_would_revert_uses_no_nonce(self, seam: Seam) -> None:
        ada = await seam.funded_person()
        made = await seam.withdraw(ada, "2", "ETH", OUTSIDE)
        await seam.node("anvil_setCode", OUTSIDE, REVERTS)
        await seam.pass_once()
        done = await seam.withdrawal(ada, made.id)
        assert (done.status, done.failure_code, done.fee.minor) == ("failed", "would_revert", 0)
        assert (await seam.balance(ada, "ETH")).held_minor == 0
        assert await _attempts(seam) == []


class TestTheNode:
    async def test_a_dropped_reply_and_two_restarts_pay_once(self, seam: Seam) -> None:
        ada = await seam.funded_person()
        async with FaultProxy(seam.url) as proxy:
            seam.restart_worker(url=proxy.url)
            proxy.fault = "drop_reply"
            coins = await seam.withdraw(ada, "0.5", "ETH", OUTSIDE)
            for _ in range(3):
                await seam.runner.tick()
                seam.restart_worker()
            assert len(proxy.bodies) >= 1
            proxy.fault = "none"
            await seam.finish()
            assert len(await _attempts(seam)) == 1
            raws = {body.split(b'"0x')[1] for body in proxy.bodies}
            assert len(raws) == 1
        assert (await seam.withdrawal(ada, coins.id)).status == "settled"
        assert await seam.on_chain(OUTSIDE, "ETH") == 5 * 10**17
        assert await seam.differences() == []

    async def test_a_request_that_never_arrived_goes_again(self, seam: Seam) -> None:
        ada = await seam.funded_person()
        async with FaultProxy(seam.url) as proxy:
            seam.restart_worker(url=proxy.url)
            proxy.fault = "drop_request"
            made = await seam.withdraw(ada, "20", "USDC", OUTSIDE)
            await seam.runner.tick()
            await seam.runner.tick()
            assert (await seam.withdrawal(ada, made.id)).status == "broadcast"
            assert await seam.on_chain(OUTSIDE, "USDC") == 0
            proxy.fault = "none"
            seam.restart_worker()
            await seam.finish()
        assert (await seam.withdrawal(ada, made.id)).status == "settled"
        assert len(await _attempts(seam)) == 1
        assert await seam.differences() == []

    async def test_a_dropped_mempool(self, seam: Seam) -> None:
        ada = await seam.funded_person()
        await seam.automine(False)
        made = [await seam.withdraw(ada, "1", "USDC", OUTSIDE) for _ in range(3)]
        await seam.pass_once()
        await seam.node("anvil_dropAllTransactions")
        await seam.pass_once()
        await seam.automine(True)
        await seam.finish()
        assert [(await seam.withdrawal(ada, w.id)).status for w in made] == ["settled"] * 3
        assert await seam.on_chain(OUTSIDE, "USDC") == 3_000_000
        assert len(await _attempts(seam)) == 3
        assert await seam.differences() == []

    @pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 6])
    async def test_a_mined_payout_that_is_reorganised_away(self, seam: Seam, depth: int) -> None:
        ada = await seam.funded_person()
        made = await seam.withdraw(ada, "0.5", "ETH", OUTSIDE)
        await seam.pass_once()
        await seam.pass_once()
        if depth > 1:
            await seam.mine(depth - 1)
        assert (await seam.withdrawal(ada, made.id)).status == "mined"
        await seam.dev.reorg(depth)
        assert await seam.on_chain(OUTSIDE, "ETH") == 0
        await seam.pass_once()
        await seam.finish()
        done = await seam.withdrawal(ada, made.id)
        assert done.status == "settled"
        assert "reorged" in _events(done)
        assert len(await _attempts(seam)) == 1
        assert await seam.on_chain(OUTSIDE, "ETH") == 5 * 10**17
        assert await seam.differences() == []

    async def test_fees_that_rise_are_followed_within_the_bound(self, seam: Seam) -> None:
        ada = await seam.funded_person()
        await seam.automine(False)
        made = await seam.withdraw(ada, "0.5", "ETH", OUTSIDE)
        await seam.runner.tick()
        [first] = (await seam.withdrawal(ada, made.id)).attempts
        dearer = first.max_fee_wei * 11 // 10
        await seam.node("anvil_dropAllTransactions")
        await seam.node("anvil_setNextBlockBaseFeePerGas", hex(dearer))
        await seam.dev.mine(1)
        seam.bump_seconds = 0.0
        seam.restart_worker()
        await seam.observer.tick()
        await seam.runner.tick()
        await seam.runner.tick()
        await seam.automine(True)
        await seam.finish()
        done = await seam.withdrawal(ada, made.id)
        assert [attempt.kind for attempt in done.attempts] == ["pay", "bump"]
        assert done.status == "settled"
        assert done.fee.minor <= done.fee_max.minor
        assert await seam.on_chain(OUTSIDE, "ETH") == 5 * 10**17
        assert await seam.differences() == []


class TestManyAtOnce:
    async def test_two_workers_one_signer(self, seam: Seam) -> None:
        ada = await seam.funded_person()
        made = [await seam.withdraw(ada, "1", "USDC", OUTSIDE) for _ in range(10)]
        rival = seam.new_runner(seam.client(seam.url))
        for _ in range(4):
            await asyncio.gather(seam.runner.tick(), rival.tick())
        await seam.finish()
        assert {(await seam.withdrawal(ada, w.id)).status for w in made} == {"settled"}
        assert [nonce for nonce, _, _ in await _attempts(seam)] == list(range(10))
        assert await seam.on_chain(OUTSIDE, "USDC") == 10_000_000
        assert await seam.differences() == []

    async def test_at_most_sixteen_in_flight(self, seam: Seam) -> None:
        ada = await seam.funded_person()
        await seam.automine(False)
        made = [await seam.withdraw(ada, "1", "USDC", OUTSIDE) for _ in range(MAX_IN_FLIGHT + 4)]
        for _ in range(3):
            await seam.runner.tick()
        assert len(await _attempts(seam)) == MAX_IN_FLIGHT
        await seam.automine(True)
        await seam.finish()
        await seam.finish()
        assert {(await seam.withdrawal(ada, w.id)).status for w in made} == {"settled"}
        assert await seam.on_chain(OUTSIDE, "USDC") == len(made) * 10**6
        assert await seam.differences() == []

    async def test_of_several_that_are_stuck_the_lowest_nonce_alone_is_bumped(
        self, seam: Seam
    ) -> None:
        """Nothing is mined before it: what others bid is of no use until it is through."""
        ada = await seam.funded_person()
        await seam.automine(False)
        made = [await seam.withdraw(ada, "1", "USDC", OUTSIDE) for _ in range(3)]
        await seam.runner.tick()
        dearer = (await seam.withdrawal(ada, made[0].id)).attempts[0].max_fee_wei * 11 // 10
        await seam.node("anvil_dropAllTransactions")
        await seam.node("anvil_setNextBlockBaseFeePerGas", hex(dearer))
        await seam.dev.mine(1)
        seam.bump_seconds = 0.0
        seam.restart_worker()
        await seam.observer.tick()
        for _ in range(2):
            await seam.runner.tick()
        tried = [(nonce, kind) for nonce, kind, _ in await _attempts(seam)]
        assert tried == [(0, "pay"), (0, "bump"), (1, "pay"), (2, "pay")]
        await seam.automine(True)
        await seam.finish()
        assert {(await seam.withdrawal(ada, one.id)).status for one in made} == {"settled"}
        assert await seam.on_chain(OUTSIDE, "USDC") == 3 * 10**6
        assert await seam.differences() == []

    async def test_short_float_waits_and_uses_no_nonce(self, seam: Seam) -> None:
        ada = await seam.funded_person(usdc="5000")
        [hot] = await seam.signer.hot_addresses()
        slot_free = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
        await seam.node("anvil_setBalance", hot, hex(10**17))
        await seam.runner.tick()
        waiting = await seam.withdrawal(ada, slot_free.id)
        assert (waiting.status, waiting.waiting_for) == ("held", "liquidity")
        assert await _attempts(seam) == []
        await seam.node("anvil_setBalance", hot, hex(100 * 10**18))
        await seam.finish()
        assert (await seam.withdrawal(ada, slot_free.id)).status == "settled"

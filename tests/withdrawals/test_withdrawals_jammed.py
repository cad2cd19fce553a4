"""A payment whose bound the network has left behind holds up all that its address sends after it:
an operator lets its nonce go, at the house's cost."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chain.testing.fake_node import FakeNode
from tests.cases.conftest import all_cases
from tests.cases.test_cases_sending import MINUTE, pass_time
from wallet import cli_operator
from wallet.db import Database
from wallet.errors import InvalidState
from wallet.onchain import FeeBoundReached
from wallet.onchain.casework import LateWatch
from wallet.testing.seam import GWEI, Seam
from wallet.withdrawals import Withdrawal, cancel_for

OUTSIDE = "0x00000000000000000000000000000000000A11cE"
ETH = 10**18


@pytest.fixture
async def seam(db: Database, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=2, batches=True,
        transport=FakeNode().transport,
    )  # fmt: skip
    seam.bump_seconds = 0.0
    seam.runner = seam.new_runner()
    await seam.fund_house()
    yield seam
    await seam.close()


async def dear(seam: Seam, blocks: int = 4) -> None:
    """Blocks of a base fee that nobody had expected, and passes."""
    for _ in range(blocks):
        await seam.node("anvil_setNextBlockBaseFeePerGas", hex(100 * GWEI))
        await seam.mine()


async def jammed(seam: Seam) -> tuple[str, Withdrawal, Withdrawal]:
    """Somebody with a payment of cheaper hours, or of a node that had told of no fees, and one
    behind it that bids enough."""
    ada = await seam.funded_person()
    await seam.automine(False)
    first = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    await seam.pass_once()
    await dear(seam)
    second = await seam.withdraw(ada, "2", "ETH", OUTSIDE)
    await dear(seam)
    assert (await seam.withdrawal(ada, second.id)).status == "broadcast"
    with pytest.raises(FeeBoundReached):
        await seam.cancel(ada, first.id)
    return ada, first, second


async def operator(seam: Seam, made: Withdrawal) -> None:
    async with seam.operators.transaction() as session:
        await cancel_for(
            session, withdrawal_id=made.id, by="bea", assets=seam.assets,
            networks={"local": seam.network},
        )  # fmt: skip


async def test_an_operator_lets_its_nonce_go(seam: Seam) -> None:
    ada, first, second = await jammed(seam)
    await operator(seam, first)
    await dear(seam, 8)
    done = await seam.withdrawal(ada, first.id)
    assert (done.status, done.failure_code, done.fee.minor) == (
        "failed", "cancelled_by_operator", 0,
    )  # fmt: skip
    paid = await seam.withdrawal(ada, second.id)
    assert paid.status == "settled"
    assert await seam.on_chain(OUTSIDE, "ETH") == 2 * ETH
    balance = await seam.balance(ada, "ETH")
    assert (balance.held_minor, balance.total_minor) == (0, 8 * ETH - paid.fee.minor)
    assert await seam.differences() == []


async def test_its_case_says_how_many_wait_behind_it(seam: Seam) -> None:
    """Nothing lets it go by itself: the bound is its owner's, and the cost the house's."""
    ada, first, second = await jammed(seam)
    await pass_time(seam, 16 * MINUTE)
    await LateWatch(seam.db, seam.network).tick()
    found = {one.evidence["ref"]: one for one in await all_cases(seam.db)}
    assert found[first.id].evidence["waiting_behind"] == 1
    assert "1 behind it" in found[first.id].what
    assert found[second.id].evidence["waiting_behind"] == 0
    await dear(seam, 8)
    assert (await seam.withdrawal(ada, first.id)).status == "broadcast"


async def test_what_its_owner_asked_for_in_vain_stays_the_owners(seam: Seam) -> None:
    """The bound held room for a cancel, and none for one that would be mined."""
    ada = await seam.funded_person()
    await seam.automine(False)
    first = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    await seam.pass_once()
    await seam.cancel(ada, first.id)
    await dear(seam, 8)
    assert (await seam.withdrawal(ada, first.id)).status == "broadcast"
    await operator(seam, first)
    await dear(seam, 8)
    done = await seam.withdrawal(ada, first.id)
    assert (done.status, done.failure_code) == ("cancelled", None)
    assert 0 < done.fee.minor <= done.fee_max.minor
    assert await seam.differences() == []


async def test_so_is_a_batchs(seam: Seam) -> None:
    """Its members are paid when the network lets them, each within its own bound."""
    ada = await seam.funded_person()
    await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    await seam.finish()
    made = [await seam.withdraw(ada, "2", "USDC", OUTSIDE) for _ in range(5)]
    await seam.pass_once()
    await seam.finish()  # the allowance, and what went alone meanwhile
    await seam.automine(False)
    made += [await seam.withdraw(ada, "2", "USDC", OUTSIDE) for _ in range(5)]
    await seam.pass_once()
    [batch] = await seam.rows(
        "SELECT id FROM chain_intents WHERE purpose = 'payout_batch' AND state = 'sent'"
    )
    await dear(seam, 8)
    services: Any = SimpleNamespace(db=seam.operators, networks={"local": seam.network})
    chosen = argparse.Namespace(action="cancel", withdrawal=batch.id, by="bea")
    assert await cli_operator._replace(services, chosen) == 0
    await dear(seam, 8)
    [row] = await seam.rows("SELECT state, cancel_asked_by FROM chain_intents WHERE id = :id",
                            id=batch.id)  # fmt: skip
    assert (row.state, row.cancel_asked_by) == ("cancelled", "bea")
    assert {(await seam.withdrawal(ada, one.id)).status for one in made[5:]} == {"held"}
    await seam.node("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    await seam.automine(True)
    await seam.finish()
    await seam.finish()
    assert {(await seam.withdrawal(ada, one.id)).status for one in made} == {"settled"}
    assert await seam.on_chain(OUTSIDE, "USDC") == 21 * 10**6
    assert await seam.differences() == []
    with pytest.raises(InvalidState):
        await cli_operator._replace(services, chosen)


@pytest.mark.parametrize("most", [150, 50])
async def test_nor_does_it_jam_by_a_bid_above_the_signers_ceiling(seam: Seam, most: int) -> None:
    """The signer's ceiling may be lower than the network's; what it refused is bid for less, or
    asked for again: no other transfer of nothing ever comes at this nonce."""
    ada, first, _ = await jammed(seam)
    chains = seam.desk.policy.chains
    wide = seam.desk.policy
    seam.desk.policy = replace(
        wide, chains={31337: replace(chains[31337], fee_ceiling_wei=most * GWEI)}
    )
    await operator(seam, first)
    await dear(seam, 8)
    if most < 100:  # nothing is mined at so little: its operator allows more
        assert (await seam.withdrawal(ada, first.id)).status == "broadcast"
        seam.desk.policy = wide
        seam.runner = seam.new_runner()
        await dear(seam, 8)
    await dear(seam, 8)
    done = await seam.withdrawal(ada, first.id)
    assert (done.status, done.failure_code, done.fee.minor) == (
        "failed", "cancelled_by_operator", 0,
    )  # fmt: skip
    assert await seam.differences() == []


async def test_nor_is_its_address_halted_by_such_a_bid(seam: Seam) -> None:
    """Of a payment that nothing was signed for yet."""
    ada = await seam.funded_person()
    await seam.automine(False)
    wide = seam.desk.policy
    chain = wide.chains[31337]
    assert chain.native is not None
    tight = replace(chain, fee_ceiling_wei=150 * GWEI, native=replace(chain.native, per_day=1))
    seam.desk.policy = replace(wide, chains={31337: tight})
    made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    await seam.runner.tick()
    await seam.runner.tick()
    assert (await seam.withdrawal(ada, made.id)).waiting_for == "signer_limit"
    for _ in range(4):
        await seam.node("anvil_setNextBlockBaseFeePerGas", hex(100 * GWEI))
        await seam.dev.mine(1)
    await operator(seam, made)
    await dear(seam, 2)
    for _ in range(4):
        await seam.node("anvil_setNextBlockBaseFeePerGas", hex(80 * GWEI))
        await seam.mine()
    assert await seam.rows("SELECT 1 FROM chain_signers WHERE halted_reason IS NOT NULL") == []
    done = await seam.withdrawal(ada, made.id)
    assert (done.status, done.failure_code) == ("failed", "cancelled_by_operator")


async def test_nor_is_a_cancel_lost_that_a_wrong_policy_refused(seam: Seam) -> None:
    """A signer that was started with another network's policy for an hour, say."""
    ada, first, _ = await jammed(seam)
    right = seam.desk.policy
    seam.desk.policy = replace(right, chains={})
    await operator(seam, first)
    await dear(seam)
    assert (await seam.withdrawal(ada, first.id)).status == "broadcast"
    seam.desk.policy = right
    seam.runner = seam.new_runner()
    await dear(seam, 8)
    done = await seam.withdrawal(ada, first.id)
    assert (done.status, done.failure_code) == ("failed", "cancelled_by_operator")
    assert await seam.differences() == []

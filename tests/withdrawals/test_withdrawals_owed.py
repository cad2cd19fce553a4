"""A debtor's withdrawals: without a nonce they end and repay, with one they go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from eth_utils.address import to_checksum_address
from sqlalchemy.ext.asyncio import AsyncSession

from chain.testing import AnvilProcess
from wallet import ledger, receivables
from wallet.db import Database
from wallet.errors import InvalidState
from wallet.ledger import accounts
from wallet.onchain import repository
from wallet.receivables import Collector
from wallet.testing.seam import Seam
from wallet.withdrawals import OwedWithdrawals

TO = str(to_checksum_address(f"0x{1 << 150:040x}"))
GATEWAY = "simgate"


async def charge(session: AsyncSession, seam: Seam, who: str, amount: str, asset: str) -> None:
    """A charge-back, in the caller's transaction."""
    await receivables.charge(
        session, principal_id=who, money=seam.money(amount, asset),
        against=accounts.gateway(GATEWAY, asset), kind="topup_charged_back", ref="test", meta={},
    )  # fmt: skip


async def charged(seam: Seam, who: str, amount: str, asset: str = "USDC") -> None:
    async with seam.db.transaction() as session:
        await charge(session, seam, who, amount, asset)


async def collect(seam: Seam) -> None:
    outgoing = [OwedWithdrawals(seam.db, seam.assets)]
    await Collector(seam.db, seam.assets, outgoing).tick()


async def owed(seam: Seam, who: str, asset: str = "USDC") -> int:
    async with seam.db.transaction() as session:
        return await ledger.balance_of(session, accounts.receivable(who, asset))


async def books_balance(seam: Seam) -> bool:
    async with seam.db.transaction() as session:
        return not any((await ledger.trial_balance(session)).values())


async def test_what_has_no_nonce_ends_and_repays(seam: Seam) -> None:
    ada = await seam.funded_person(eth="1", usdc="100")
    made = await seam.withdraw(ada, "70", "USDC", TO)
    fee = made.fee_max.minor
    await charged(seam, ada, "60")
    owes = 60_000_000 - (30_000_000 - fee)
    assert await owed(seam, ada) == owes
    await seam.runner.tick()
    waits = await seam.withdrawal(ada, made.id)
    assert (waits.status, waits.waiting_for, waits.attempts) == ("held", "review", [])
    await collect(seam)
    ended = await seam.withdrawal(ada, made.id)
    assert (ended.status, ended.failure_code, ended.fee.minor) == ("failed", "money_owed", 0)
    assert ended.events[-1].detail["reason"] == "money_owed"
    assert await owed(seam, ada) == 0
    left = await seam.balance(ada, "USDC")
    assert (left.available_minor, left.held_minor, left.status) == (40_000_000, 0, "open")
    await seam.finish()
    assert await seam.on_chain(TO, "USDC") == 0
    assert await books_balance(seam)


async def test_another_asset_is_held_back_too_and_stays_frozen(seam: Seam) -> None:
    ada = await seam.funded_person(eth="2", usdc="100")
    made = await seam.withdraw(ada, "1", "ETH", TO)
    await charged(seam, ada, "160")
    await collect(seam)
    assert (await seam.withdrawal(ada, made.id)).failure_code == "money_owed"
    assert await owed(seam, ada) == 60_000_000
    eth = await seam.balance(ada, "ETH")
    assert (eth.held_minor, eth.status) == (0, "frozen")
    await seam.finish()
    assert await seam.on_chain(TO, "ETH") == 0


async def test_what_has_a_nonce_goes_on_and_others_are_in_nobodys_way(seam: Seam) -> None:
    ada = await seam.funded_person(eth="1", usdc="100")
    bob = await seam.funded_person(eth="1", usdc="100")
    sent = await seam.withdraw(ada, "50", "USDC", TO)
    await seam.runner.tick()
    queued = await seam.withdraw(ada, "20", "USDC", TO)
    await charged(seam, ada, "60")
    other = await seam.withdraw(bob, "5", "USDC", TO)
    await seam.runner.tick()
    await collect(seam)
    await seam.finish()
    assert (await seam.withdrawal(ada, sent.id)).status == "settled"
    assert (await seam.withdrawal(ada, queued.id)).status == "failed"
    assert (await seam.withdrawal(bob, other.id)).status == "settled"
    assert await seam.on_chain(TO, "USDC") == 55_000_000
    await collect(seam)  # again changes nothing
    assert (await seam.withdrawal(ada, queued.id)).status == "failed"
    with pytest.raises(InvalidState):
        await seam.cancel(ada, queued.id)


async def test_who_owes_nothing_loses_nothing(seam: Seam) -> None:
    """A charge that what is available covers."""
    ada = await seam.funded_person(eth="1", usdc="100")
    made = await seam.withdraw(ada, "20", "USDC", TO)
    await charged(seam, ada, "30")
    await collect(seam)
    await OwedWithdrawals(seam.db, seam.assets).take_back(ada)  # a debt repaid meanwhile
    assert (await seam.withdrawal(ada, made.id)).status == "held"
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "settled"


async def test_a_charge_about_to_be_committed_is_waited_for(seam: Seam) -> None:
    """Preparing at the same moment: it sees the charge, and gives no nonce."""
    ada = await seam.funded_person(eth="1", usdc="100")
    made = await seam.withdraw(ada, "70", "USDC", TO)
    async with seam.db.transaction() as session:
        await charge(session, seam, ada, "60", "USDC")
        preparing = asyncio.create_task(seam.runner.tick())
        await asyncio.wait([preparing], timeout=2.0)
        assert not preparing.done()
    await preparing
    assert await seam.rows("SELECT 1 FROM chain_intents WHERE nonce IS NOT NULL") == []
    await collect(seam)
    assert (await seam.withdrawal(ada, made.id)).status == "failed"


async def test_a_charge_waits_for_the_nonce_that_is_being_given(seam: Seam) -> None:
    ada = await seam.funded_person(eth="1", usdc="100")
    made = await seam.withdraw(ada, "70", "USDC", TO)
    async with seam.db.transaction() as session:
        assert not await receivables.owes(session, ada)  # what preparing asks
        charging = asyncio.create_task(charged(seam, ada, "60"))
        await asyncio.wait([charging], timeout=0.5)
        assert not charging.done()
        await session.rollback()
    await charging
    assert await owed(seam, ada) > 0
    await collect(seam)
    assert (await seam.withdrawal(ada, made.id)).status == "failed"


@pytest.mark.parametrize("rounds", range(3))
async def test_preparing_and_taking_back_at_once_end_one_way(seam: Seam, rounds: int) -> None:
    """Either it left and the debt stays, or it ended and the debt is repaid: never both."""
    ada = await seam.funded_person(eth="1", usdc="100")
    made = await seam.withdraw(ada, "70", "USDC", TO)
    await asyncio.gather(seam.runner.tick(), charged(seam, ada, "60"), collect(seam))
    await collect(seam)
    await seam.finish()
    await collect(seam)
    ended, left = await seam.withdrawal(ada, made.id), await seam.on_chain(TO, "USDC")
    assert (ended.status, left, await owed(seam, ada) > 0) in (
        ("settled", 70_000_000, True),
        ("failed", 0, False),
    )
    assert await books_balance(seam)


class TestBatches:
    """A member of a batch."""

    @pytest.fixture
    async def seam(self, db: Database, anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Seam]:
        seam = await Seam.open(db, anvil.url, tmp_path / "signer", batches=True)
        await seam.fund_house()
        yield seam
        await seam.close()

    async def batched(self, seam: Seam, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[str]]:
        """Ada's withdrawal and four of Bob's in a batch that has no nonce yet."""
        ada = await seam.funded_person(eth="1", usdc="100")
        self.bob = await seam.funded_person(eth="1", usdc="100")
        for _ in range(4):
            await seam.withdraw(self.bob, "1", "USDC", TO)
        await seam.finish()  # the allowance
        made = [await seam.withdraw(ada, "70", "USDC", TO)]
        made += [await seam.withdraw(self.bob, "1", "USDC", TO) for _ in range(4)]
        with monkeypatch.context() as patch:
            patch.setattr(seam.runner._preparer, "run", _nobody)
            await seam.runner.tick()
        [batch] = await seam.rows("SELECT state FROM chain_intents WHERE purpose = 'payout_batch'")
        assert batch.state == "queued"
        return ada, [one.id for one in made]

    async def test_one_without_a_nonce_is_dissolved(
        self, seam: Seam, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ada, made = await self.batched(seam, monkeypatch)
        await charged(seam, ada, "60")
        await seam.runner.tick()
        assert (await seam.withdrawal(ada, made[0])).status == "held"  # nobody vouches for it
        await collect(seam)
        await seam.finish()
        assert (await seam.withdrawal(ada, made[0])).failure_code == "money_owed"
        for one in made[1:]:
            assert (await seam.withdrawal(self.bob, one)).status == "settled"
        assert await seam.on_chain(TO, "USDC") == 8_000_000
        assert await owed(seam, ada) == 0

    async def test_one_with_a_nonce_goes_on_whole(
        self, seam: Seam, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ada, made = await self.batched(seam, monkeypatch)
        await seam.runner.tick()
        await charged(seam, ada, "60")
        await collect(seam)
        await seam.finish()
        assert (await seam.withdrawal(ada, made[0])).status == "settled"
        assert await seam.on_chain(TO, "USDC") == 78_000_000

    async def test_one_that_fails_before_its_nonce_lets_its_members_go_alone(
        self, seam: Seam, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, made = await self.batched(seam, monkeypatch)
        [batch] = await seam.rows("SELECT id FROM chain_intents WHERE purpose = 'payout_batch'")
        async with seam.db.transaction() as session:
            intent = await repository.get_intent(session, batch.id)
        await seam.runner._preparer._fail(intent, "would_revert")
        await seam.finish()
        for one in made[1:]:
            assert (await seam.withdrawal(self.bob, one)).status == "settled"


async def _nobody(address: str, **_: object) -> int:
    return 0

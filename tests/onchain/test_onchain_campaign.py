"""Everything at once, by seed: crashes, reorgs, lost mempools, lost answers, deposits, payouts."""

from __future__ import annotations

import contextlib
import os
import random

import pytest

from chain.errors import ChainError
from chain.faults import RPC_DROPS_REPLY
from wallet import crashpoints
from wallet.testing.seam import Seam

SEEDS = [int(seed) for seed in os.environ.get("BIFOLD_CAMPAIGN_SEEDS", "1,2").split(",")]
STEPS = int(os.environ.get("BIFOLD_CAMPAIGN_STEPS", "60"))
FIRST_OUTSIDE = 0xA11CE0000


class Crash(BaseException):
    """The process dies here."""


class Campaign:
    """One seeded run over one seam."""

    def __init__(self, seam: Seam, seed: int) -> None:
        self.seam = seam
        self.dice = random.Random(seed)
        self.people: list[str] = []
        self.sent: dict[str, tuple[str, str, str, int]] = {}
        self.outside: list[tuple[str, object]] = []
        self.deposits = 0
        self.crashes = 0

    async def step(self) -> None:
        """One thing happens."""
        action = self.dice.choice(
            [self.withdraw, self.withdraw, self.deposit, self.work, self.work, self.work,
             self.crash, self.crash, self.reorg, self.drop_pool, self.lose_answers, self.restart]
        )  # fmt: skip
        await action()

    async def withdraw(self) -> None:
        person = self.dice.choice(self.people)
        to = f"0x{FIRST_OUTSIDE + len(self.sent):040x}"
        asset, amount = self.dice.choice([("ETH", "0.001"), ("USDC", "3.000001")])
        made = await self.seam.withdraw(person, amount, asset, to)
        self.sent[made.id] = (person, to, asset, made.money.minor)

    async def deposit(self) -> None:
        address = await self.seam.address(self.dice.choice(self.people))
        mined = await self.seam.pay_in(address, "0.01", "ETH")
        raw = await self.seam.node("eth_getRawTransactionByHash", mined.tx_hash)
        self.outside.append((mined.tx_hash, raw))
        self.deposits += 1

    async def work(self) -> None:
        await self.seam.mine(self.dice.randint(1, 3))

    async def crash(self) -> None:
        left = self.dice.randint(1, 25)

        def die(name: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Crash(name)

        crashpoints.install(die)
        try:
            for _ in range(3):
                await self.work()
        except Crash:
            self.crashes += 1
        finally:
            crashpoints.install(None)
        await self.restart()

    async def reorg(self) -> None:
        """Blocks fall; whoever sent deposits sends the same bytes again, as a geth pool would."""
        await self.seam.dev.reorg(self.dice.randint(1, 6))
        if self.dice.random() < 0.5:
            await self.seam.pass_once()
        for tx_hash, raw in self.outside:
            if await self.seam.node("eth_getTransactionByHash", tx_hash) is None:
                await self.seam.node("eth_sendRawTransaction", raw)
                await self.seam.dev.wait_mined(tx_hash)  # else the next step may drop it for good

    async def drop_pool(self) -> None:
        await self.seam.automine(False)
        await self.seam.pass_once()
        await self.seam.node("anvil_dropAllTransactions")
        await self.seam.automine(True)

    async def lose_answers(self) -> None:
        self.seam.switch.on(RPC_DROPS_REPLY)
        with contextlib.suppress(ChainError):
            await self.seam.pass_once()
        self.seam.switch.off(RPC_DROPS_REPLY)

    async def restart(self) -> None:
        self.seam.restart_worker()


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
async def test_every_payout_is_paid_exactly_once(seam: Seam, seed: int) -> None:
    campaign = Campaign(seam, seed)
    campaign.people = [await seam.funded_person(eth="2", usdc="500") for _ in range(3)]
    before = await _owed(seam)
    for _ in range(STEPS):
        await campaign.step()
    for _ in range(4):
        await seam.finish()
    fees: dict[str, int] = {"ETH": 0, "USDC": 0}
    paid: dict[str, int] = {"ETH": 0, "USDC": 0}
    for withdrawal_id, (person, to, asset, minor) in campaign.sent.items():
        done = await seam.withdrawal(person, withdrawal_id)
        assert (done.status, await seam.on_chain(to, asset)) == ("settled", minor)
        fees[asset] += done.fee.minor
        paid[asset] += minor
    assert campaign.crashes > 0
    nonces = await seam.rows("SELECT nonce FROM chain_intents ORDER BY nonce")
    assert [row.nonce for row in nonces] == list(range(len(campaign.sent)))
    arrived = await seam.rows(
        "SELECT coalesce(sum(amount_minor), 0) AS total FROM deposits"
        " WHERE status = 'credited' AND asset = 'ETH' AND principal_id IS NOT NULL"
    )
    assert int(arrived[0].total) == 3 * 2 * 10**18 + campaign.deposits * 10**16
    after = await _owed(seam)
    for asset in ("ETH", "USDC"):
        credited = campaign.deposits * 10**16 if asset == "ETH" else 0
        assert after[asset] == (before[asset][0] + credited - paid[asset] - fees[asset], 0)
    assert await seam.differences() == []


async def _owed(seam: Seam) -> dict[str, tuple[int, int]]:
    """Asset → (owed to customers, held)."""
    rows = await seam.rows(
        "SELECT asset, sum(balance_minor) AS total, sum(held_minor) AS held FROM accounts"
        " WHERE kind = 'customer' GROUP BY asset"
    )
    return {row.asset: (int(row.total), int(row.held)) for row in rows}

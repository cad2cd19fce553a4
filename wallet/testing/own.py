"""The house's own payments in the send campaign: deposits that are swept, moves between hot, warm
and cold, evacuations; begun before a fault or under it, and judged when the weather is calm."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from unittest.mock import patch

from eth_account import Account
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from chain.client import ChainClient
from chain.errors import ChainError
from chain.transactions import tx_hash
from keys.offline import Sheet, payment, read_signed, sign_with_key
from keys.secret import Secret
from wallet.errors import InvalidState, WalletError
from wallet.sweeps import Sweeper
from wallet.testing.hands import COLD, OWNERS, Hands
from wallet.testing.seam import GWEI
from wallet.treasury import TreasuryWatch, broadcast, hot, prepare

if TYPE_CHECKING:
    from wallet.testing.stage import Stage

STRANGER = Account.from_key(b"\x51" * 32)
CALM_ROUNDS = 14
"""As the campaign's own deadline; longer, for a sweep by gas first has two payments, and what an
evacuation leaves for customers, and for sweeps to the next hot address, goes after it."""
EVACUATES = 0.4
CANCELS, REFILLS, GIVEN, RIVALS = 0.3, 0.3, 0.3, 0.3
"""Likewise: an operator cancels one of the house's own payments; coins come from cold; a stranger's
coins come to a hot address and are told as capital; two workers move the house's coins at once."""
DUST_WEI = 10**16
"""So much of a deposit's coins may stay behind for fees."""
_PAID_IN = (
    [("ETH", "0.5")],
    [("USDC", "60")],
    [("USDC", "60"), ("ETH", "0.5")],
    [("ETH", "0.3"), ("ETH", "0.2")],
)
_MOVED = (("ETH", "0.5"), ("USDC", "100"))
_GIVEN_UP = (
    "SELECT m.id FROM treasury_moves m JOIN chain_intents i ON i.id = m.intent_id"
    " WHERE m.state = 'approved' AND i.state = 'queued' AND (m.kind = 'to_hot'"
    "  AND i.waiting_for = 'review' OR EXISTS (SELECT FROM chain_signers s"
    "   WHERE s.network = i.network AND s.address = i.pinned_address"
    "   AND s.halted_reason = :reason)) ORDER BY 1"
)
"""Moves to a hot address, or out of one, that an evacuation has given up."""
_LATER = (
    "UPDATE sweeps SET ended_at = ended_at - interval '2 hours'"
    " WHERE ended_at > clock_timestamp() - interval '1 hour'"
)
Refused = (ChainError, WalletError, OperationalError)


@dataclass(frozen=True, slots=True)
class PaidIn:
    """A deposit of the schedule."""

    person: str
    address: str
    asset: str
    minor: int
    tx_hash: str


class Own:
    """The operators and depositors of one house, beside its customers."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._seam = stage, stage.seam
        self._dice = random.Random(0)  # noqa: S311
        self._chores: list[Callable[[], Awaitable[None]]] = []
        self._paid_in: list[PaidIn] = []
        self._proposed: list[str] = []
        self._before: dict[tuple[str, str], int] = {}
        self._hands = Hands(stage)
        self._sheet: tuple[Sheet, str, str, int] | None = None
        self._given: str | None = None
        self._cases: set[str] = set()
        self._rivals = False
        self.rests = False
        """Whether nothing of its own is promised just now."""

    async def open(self) -> None:
        """Fund what works, and keep the last hot address on standby where one is lost."""
        seam, house = self._seam, self._stage.house
        lanes = seam.desk.hot_addresses
        working = lanes[:-1] if house.evacuates else lanes
        for address in working:
            await self._hands.fund(address)
        await self._hands.fund_warm()
        await self._hands.fund(COLD.address)
        await seam.arrive()
        await self._hands.earn()
        self._hands.let(lanes if house.evacuates else None)
        if house.evacuates:
            await self._hands.command("standby", "--address", lanes[-1])

    async def begin(self, dice: random.Random) -> None:
        """People pay in, and moves are proposed. Some of it is under way before the fault is."""
        stage, seam = self._stage, self._seam
        self._dice, self._chores, self._paid_in, self._proposed = dice, [], [], []
        self._sheet, self._given, self.rests = None, None, False
        self._rivals = dice.random() < RIVALS
        await stage.stamp_rates()
        for place in (COLD.address, OWNERS):
            for asset in self._assets:
                self._before[place, asset] = await seam.on_chain(place, asset)
        self._cases = {row.id for row in await seam.rows("SELECT id FROM cases")}
        for _ in range(dice.randint(1, 2)):
            person = await seam.person()
            address = await seam.address(person)
            for asset, amount in dice.choice(_PAID_IN):
                mined = await seam.pay_in(address, amount, asset)
                self._paid_in.append(
                    PaidIn(person, address, asset, seam.money(amount, asset).minor, mined.tx_hash)
                )
        if dice.random() < GIVEN:
            await self._give()
        for _pass in range(dice.randint(0, 3)):  # not final, found, given gas or sent, moved
            await stage.tick(seam.network.confirmations)
        await seam.observer.tick()  # so that customers may send, however slow the machine is
        for _ in range(dice.randint(1, 2)):
            await self._propose()
        if stage.house.evacuates and dice.random() < EVACUATES:
            self._chores.append(self._hands.evacuate)
        if dice.random() < CANCELS:
            self._chores.append(lambda: self._hands.cancel(dice))
        if dice.random() < REFILLS:
            self._chores.append(self._refill)

    async def start(self) -> None:
        """Half the time operators are done before the fault."""
        if self._dice.random() < 0.5:
            await self._try(1.0)

    @property
    def _assets(self) -> tuple[str, ...]:
        network = self._seam.network
        return (network.native_asset, *(token.code for token in network.tokens))

    async def _propose(self) -> None:
        """One move that an operator agrees with sooner or later."""
        move_id = await self._hands.propose(self._dice)
        if move_id is not None:
            self._proposed.append(move_id)
            self._chores.append(lambda: self._hands.approve(move_id))

    async def _give(self) -> None:
        """Coins from nobody known, to a hot address."""
        seam = self._seam
        async with seam.operators.transaction() as session:
            lane = await hot.working(session, "local")
        if lane is None:
            return
        await seam.pay_in(STRANGER.address, "0.3", seam.network.native_asset)
        signed = Account.sign_transaction(
            {
                "type": 2, "chainId": seam.network.chain_id, "data": b"", "gas": 21_000,
                "nonce": int(str(await seam.node("eth_getTransactionCount", STRANGER.address,
                                                 "latest")), 16),
                "to": lane, "value": 10**17, "maxFeePerGas": 300 * GWEI,
                "maxPriorityFeePerGas": GWEI,
            },
            STRANGER.key,
        )  # fmt: skip
        raw = "0x" + bytes(signed.raw_transaction).hex()
        self._given = str(await seam.node("eth_sendRawTransaction", raw))
        await seam.dev.wait_mined(self._given)

    async def act(self) -> None:
        """What people do in one pass: some of what is left to be done, and signatures."""
        await self._try(0.5)

    async def work(self) -> None:
        """What workers do in one pass; where two do it neither keeps the other away, as if the
        locks that save work were lost with their connections."""
        seam = self._seam
        if not self._rivals:
            for one in (seam.sweeper.tick, seam.treasury.tick):
                with contextlib.suppress(*Refused):
                    await one()
            return
        sweeper = Sweeper(seam.db, seam.chain, seam.assets, seam.signer, patience_seconds=0.0)
        watch = TreasuryWatch(seam.db, seam.chain, seam.assets)
        with (
            patch("wallet.sweeps.sweeper.leadership", _anybody),
            patch("wallet.treasury.watch.leadership", _anybody),
        ):
            for pair in ((seam.sweeper, sweeper), (seam.treasury, watch)):
                works = [_calmly(one) for one in pair]
                await self._stage.side_by_side(self._dice, works)

    async def _try(self, chance: float) -> None:
        for chore in [*self._chores]:
            if self._dice.random() < chance:
                with contextlib.suppress(*Refused):
                    await chore()
                    self._chores.remove(chore)
        if self._dice.random() < chance:
            with contextlib.suppress(*Refused):
                await self._carry()
        if self._stage.house.warm and self._dice.random() < chance:
            with contextlib.suppress(*Refused):
                await self._hands.sign()
        if self._dice.random() < chance:
            with contextlib.suppress(*Refused):
                await self._hands.tell_capital(self._assets[0])

    async def _refill(self) -> None:
        """A sheet that is signed cold fills a hot address; it is sent again until it is mined."""
        seam = self._seam
        asset, amount = self._dice.choice(_MOVED)
        money = seam.money(amount, asset)
        async with seam.operators.transaction() as session:
            lane = await hot.working(session, "local")
        if lane is None:
            return
        ours = [lane, *([seam.desk.warm_address] if seam.desk.warm_address else [])]
        to = self._dice.choice(ours)
        sheet = await prepare(seam.chain, sender=COLD.address, to=to, money=money, ours=ours)
        signed = sign_with_key(sheet, Secret(bytes(COLD.key)))
        self._sheet = (sheet, signed, asset, money.minor)

    async def _carry(self) -> None:
        if self._sheet is None:
            return
        sheet, signed, _, _ = self._sheet
        ours = [payment(sheet.tx).to]
        try:
            await broadcast(self._seam.chain, sheet=sheet, signed=signed, ours=ours, wait_seconds=0)
        except InvalidState:  # a node had lied about its nonce: it can never be mined
            self._sheet = None
            await self._refill()

    # Calm weather

    async def calm(self) -> None:
        """All that is left to be done is done, or taken off the list."""
        await self._try(1.0)
        for move_id in self._proposed:  # what could not be, or an old copy has so again
            if await self._hands.still_proposed(move_id):
                await self._hands.dismiss(move_id)
        self._chores = []
        for row in await self._seam.rows(_GIVEN_UP, reason=hot.COMPROMISED):
            await self._hands.dismiss(row.id)
        await self._hands.after_evacuation()
        async with self._seam.db.transaction() as session:  # an hour later a failed one is tried
            await session.execute(text(_LATER))

    async def open_things(self) -> list[str]:
        """What has not ended, in words."""
        seam, first = self._seam, self._stage.first_id
        rows = await seam.rows(
            "SELECT id, purpose, state, waiting_for FROM chain_intents WHERE id > :first"
            " AND state NOT IN ('final_ok', 'final_reverted', 'cancelled', 'failed') ORDER BY id",
            first=first,
        )
        found = [f"{row.id} {row.purpose} {row.state} {row.waiting_for}" for row in rows]
        found += [
            f"{row.id} {row.kind} {row.state}"
            for row in await seam.rows(
                "SELECT id, kind, state FROM sweeps WHERE state = 'open' UNION ALL"
                " SELECT id, kind, state FROM treasury_moves"
                " WHERE state IN ('proposed', 'approved') ORDER BY 1"
            )
        ]
        for row in await seam.rows("SELECT reason, evacuate_to FROM network_freezes"):
            found.append(f"frozen: {row.reason}, {row.evacuate_to}")
        if self._given is not None:
            client = ChainClient(seam.network, seam.opened[0])
            booked = await seam.rows(
                "SELECT FROM deposits WHERE tx_hash = :hash AND status = 'credited'",
                hash=self._given,
            )
            if not booked and await client.receipts([self._given]) != [None]:  # no fork took it
                found.append("a stranger's coins are not in the books")
        for row in await seam.rows(
            "SELECT path FROM account_balances WHERE path LIKE 'unattributed:house:%'"
            " AND balance_minor <> 0 ORDER BY 1"
        ):
            found.append(f"{row.path} is not told as capital")
        if self._sheet is not None and not await self._left_cold():
            found.append("a sheet from cold is not mined")
        for address, asset in dict.fromkeys((one.address, one.asset) for one in self._paid_in):
            left = await seam.on_chain(address, asset)
            if left > (DUST_WEI if asset == seam.network.native_asset else 0):
                found.append(f"{left} {asset} at {address} are not swept")
        return found

    async def _left_cold(self) -> Counter[str]:
        """What the sheet of this schedule took, with its gas; it must be mined by now."""
        spent: Counter[str] = Counter()
        if self._sheet is not None:
            sheet, signed, asset, minor = self._sheet
            client = ChainClient(self._seam.network, self._seam.opened[0])
            [receipt] = await client.receipts([tx_hash(read_signed(sheet, signed))])
            if receipt is not None:
                spent[asset] += minor
                spent[self._assets[0]] += receipt.fee_wei
        return spent

    async def verdict(self, ends: Counter[str]) -> list[str]:
        """What is wrong. `ends`: how sweeps and moves ended is counted there."""
        seam, first = self._seam, self._stage.first_id
        wrong = await self.open_things()
        rows = await seam.rows(
            "SELECT i.purpose, coalesce(s.kind, m.kind) AS kind, i.state, i.asset, i.to_address,"
            " i.amount_minor FROM chain_intents i LEFT JOIN sweeps s ON s.intent_id = i.id"
            " LEFT JOIN treasury_moves m ON m.intent_id = i.id"
            " WHERE i.id > :first AND i.purpose IN ('sweep', 'top_up', 'treasury')",
            first=first,
        )
        told: Counter[tuple[str, str]] = Counter()
        for row in rows:
            ends[f"{row.kind} {row.state}"] += 1
            if row.state == "final_ok":
                told[row.to_address, row.asset] += int(row.amount_minor)
        for asset, minor in (await self._left_cold()).items():
            told[COLD.address, asset] -= minor
        for (place, asset), before in self._before.items():
            came = await seam.on_chain(place, asset) - before
            if came != told[place, asset]:
                wrong.append(f"{came} {asset} came to {place}, moves say {told[place, asset]}")
        client = ChainClient(seam.network, seam.opened[0])
        receipts = await client.receipts([one.tx_hash for one in self._paid_in])
        owed: Counter[tuple[str, str]] = Counter()
        for one, receipt in zip(self._paid_in, receipts, strict=True):
            owed[one.person, one.asset] += 0 if receipt is None else one.minor  # a fork took it
        for (person, asset), minor in owed.items():
            has = (await seam.balance(person, asset)).total_minor
            if has != minor:
                wrong.append(f"{has} {asset} are credited of {minor} paid in")
        left = await seam.rows(
            "SELECT path, balance_minor FROM account_balances WHERE balance_minor <> 0 AND (path"
            " LIKE 'unattributed:%' OR path LIKE '%:in_transit:%' OR path LIKE 'receivable:%'"
            " OR path LIKE 'suspense:%') ORDER BY path"
        )
        wrong += [f"{row.path} holds {row.balance_minor}" for row in left]
        cases = await seam.rows(
            "SELECT id, kind, subject, what FROM cases WHERE status = 'open' ORDER BY id"
        )
        wrong += [
            f"open case {row.kind} {row.subject}: {row.what}"
            for row in cases
            if row.id not in self._cases
        ]
        return wrong


@contextlib.asynccontextmanager
async def _anybody(*_: object) -> AsyncIterator[bool]:
    """In place of `leadership`: everybody leads."""
    yield True


def _calmly(one: Sweeper | TreasuryWatch) -> Callable[[], Awaitable[None]]:
    """Its pass; what a fault raises is tried again in the next."""

    async def work() -> None:
        with contextlib.suppress(*Refused):
            await one.tick()

    return work

"""The house's own payments in the send campaign: deposits that are swept, moves between hot, warm
and cold, evacuations; begun before a fault or under it, and judged when the weather is calm."""

from __future__ import annotations

import argparse
import contextlib
import io
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from eth_account import Account
from eth_account.messages import encode_defunct
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from chain.client import ChainClient
from chain.errors import ChainError
from chain.transactions import tx_hash
from keys.deposit_keys import HdDepositKeys
from keys.derivation import HOT_ACCOUNT, WARM_ACCOUNT, derive_key, path
from keys.desk import SigningDesk
from keys.offline import Sheet, payment, read_signed, sign_with_key
from keys.secret import Secret, SecretText
from keys.signer import LocalSigner
from keys.testing import TEST_MNEMONIC, test_seed
from wallet import cli, cli_operator, cli_treasury, custody
from wallet.errors import InvalidState, WalletError
from wallet.onchain import approvals, repository
from wallet.onchain.freeze import frozen
from wallet.testing.seam import FIRST_HOT_INDEX
from wallet.treasury import broadcast, hot, moves, prepare

if TYPE_CHECKING:
    from wallet.testing.stage import Stage

COLD = Account.from_key(b"\xc0" * 32)
OPERATORS = [Account.from_key(bytes([number]) * 32) for number in (7, 8)]
CALM_ROUNDS = 10
"""As the campaign's own deadline; longer, for a sweep by gas first has two payments, and what an
evacuation leaves for customers goes after it."""
EVACUATES = 0.4
CANCELS, REFILLS = 0.3, 0.3
"""Likewise: an operator cancels one of the house's own payments; coins come from cold."""
DUST_WEI = 10**16
"""So much of a deposit's coins may stay behind for fees."""
_PAID_IN = (
    [("ETH", "0.5")],
    [("USDC", "60")],
    [("USDC", "60"), ("ETH", "0.5")],
    [("ETH", "0.3"), ("ETH", "0.2")],
)
_MOVED = (("ETH", "0.5"), ("USDC", "100"))
_NOBODY_VOUCHES = (
    "SELECT m.id FROM treasury_moves m JOIN chain_intents i ON i.id = m.intent_id"
    " WHERE m.kind = 'to_hot' AND m.state = 'approved' AND i.state = 'queued'"
    " AND i.waiting_for = 'review' ORDER BY 1"
)
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
        self._before: dict[str, int] = {}
        self._sheet: tuple[Sheet, str, str, int] | None = None
        self._cases: set[str] = set()
        self.rests = False
        """Whether nothing of its own is promised just now."""

    async def open(self) -> None:
        """Fund what works, and keep the last hot address on standby where one is lost."""
        seam, house = self._seam, self._stage.house
        lanes = seam.desk.hot_addresses
        working = lanes[:-1] if house.evacuates else lanes
        for address in working:
            await self._fund(address)
        await self._fund_warm()
        await self._fund(COLD.address)
        await seam.arrive()
        if house.evacuates:
            await self._command("standby", "--address", lanes[-1])
            self._let_sweeps_go_to(lanes)

    async def _fund(self, address: str) -> None:
        await self._seam.pay_in(address, "50", "ETH")
        await self._seam.pay_in(address, "20000", "USDC")

    async def _fund_warm(self) -> None:
        if self._seam.desk.warm_address is not None:
            await self._seam.pay_in(self._seam.desk.warm_address, "20", "ETH")
            await self._seam.pay_in(self._seam.desk.warm_address, "5000", "USDC")

    async def begin(self, dice: random.Random) -> None:
        """People pay in, and moves are proposed. Some of it is under way before the fault is."""
        stage, seam = self._stage, self._seam
        self._dice, self._chores, self._paid_in, self._proposed = dice, [], [], []
        self._sheet, self.rests = None, False
        await stage.stamp_rates()
        self._before = {asset: await seam.on_chain(COLD.address, asset) for asset in self._assets}
        self._cases = {row.id for row in await seam.rows("SELECT id FROM cases")}
        for _ in range(dice.randint(1, 2)):
            person = await seam.person()
            address = await seam.address(person)
            for asset, amount in dice.choice(_PAID_IN):
                mined = await seam.pay_in(address, amount, asset)
                self._paid_in.append(
                    PaidIn(person, address, asset, seam.money(amount, asset).minor, mined.tx_hash)
                )
        for _pass in range(dice.randint(0, 3)):  # not final, found, given gas or sent, moved
            await stage.tick(seam.network.confirmations)
        await seam.observer.tick()  # so that customers may send, however slow the machine is
        for _ in range(dice.randint(1, 2)):
            await self._propose(dice)
        if stage.house.evacuates and dice.random() < EVACUATES:
            self._chores.append(self._order)
        if dice.random() < CANCELS:
            self._chores.append(self._cancel)
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

    async def _propose(self, dice: random.Random) -> None:
        """One move that an operator agrees with sooner or later."""
        seam = self._seam
        routes: dict[str, str | None] = {"to_cold": COLD.address}
        if self._stage.house.warm:
            async with seam.operators.transaction() as session:
                routes["to_hot"] = await hot.working(session, "local")
            routes |= {"to_warm": seam.desk.warm_address, "warm_to_cold": COLD.address}
        kind: Any = dice.choice(sorted(routes))
        asset, amount = dice.choice(_MOVED)
        with contextlib.suppress(WalletError):  # the like is proposed already, or there is no lane
            async with seam.operators.transaction() as session:
                move_id = await moves.propose(
                    session, network="local", money=seam.money(amount, asset), kind=kind,
                    to_address=routes[kind], by="ada",
                )  # fmt: skip
            self._proposed.append(move_id)
            self._chores.append(lambda: self._approve(move_id))

    async def _approve(self, move_id: str) -> None:
        seam = self._seam
        if not await self._still_proposed(move_id):
            return
        async with seam.operators.transaction() as session:
            sender = await hot.working(session, "local") or seam.desk.hot_addresses[0]
            await moves.approve(
                session, move_id, by="bob", chain=seam.chain, sender=sender, assets=seam.assets
            )

    async def _still_proposed(self, move_id: str) -> bool:
        """No: a crash came right after it was agreed with, or an old copy does not know it."""
        return bool(
            await self._seam.rows(
                "SELECT FROM treasury_moves WHERE id = :id AND state = 'proposed'", id=move_id
            )
        )

    async def act(self) -> None:
        """What people do in one pass: some of what is left to be done, and signatures."""
        await self._try(0.5)

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
                await self._sign()

    async def _sign(self) -> None:
        """Both operators, for all that waits for them."""
        seam = self._seam
        waiting = await seam.rows(
            "SELECT id FROM chain_intents WHERE state = 'queued' AND waiting_for = 'approval'"
            " ORDER BY id"
        )
        for row in waiting:
            async with seam.operators.transaction() as session:
                intent = await repository.get_intent(session, row.id)
                words = approvals.wording(seam.network, intent, warm=seam.desk.warm_address)
                for number, one in enumerate(OPERATORS):
                    signed = bytes(one.sign_message(encode_defunct(text=words)).signature)
                    given = approvals.Approval(one.address, signed, f"signer {number}")
                    await approvals.approve(session, intent.id, given)

    async def _cancel(self) -> None:
        """`bifold chain cancel`, of one of the house's own payments that has not ended."""
        rows = await self._seam.rows(
            "SELECT id FROM chain_intents WHERE id > :first AND (state IN ('allocated', 'signed',"
            " 'sent') AND purpose IN ('sweep', 'top_up', 'treasury')"
            " OR state = 'queued' AND purpose IN ('sweep', 'top_up')) ORDER BY id",
            first=self._stage.first_id,
        )
        if rows:
            chosen = argparse.Namespace(
                action="cancel", withdrawal=self._dice.choice(rows).id, by="cy"
            )
            with contextlib.redirect_stdout(io.StringIO()):
                await cli_operator._replace(self._services(), chosen)

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

    # Evacuations

    async def _order(self) -> None:
        """`bifold treasury evacuate`."""
        await self._command("evacuate", "--to", COLD.address, "--wait", "0")

    async def _command(self, *words: str) -> None:
        line = ["treasury", *words, "--network", "local", "--by", "cy"]
        chosen = cli._parser().parse_args(line)
        with contextlib.redirect_stdout(io.StringIO()):
            await cli_treasury.act(self._services(), chosen)

    def _services(self) -> Any:
        seam = self._seam
        return SimpleNamespace(
            db=seam.operators, chains={"local": seam.chain}, assets=seam.assets,
            signer=seam.signer, networks={"local": seam.network},
            house=SimpleNamespace(hot=seam.desk.hot_addresses, warm=seam.desk.warm_address),
        )  # fmt: skip

    async def _after_evacuation(self) -> None:
        """A new key on standby, coins and sweeps for the address that works now; customers may send
        again."""
        seam = self._seam
        async with seam.operators.transaction() as session:
            freeze = await frozen(session, "local")
        if freeze is None or freeze.evacuate_to is not None:
            return
        await self._command("unfreeze")
        old = seam.desk
        keys = [
            derive_key(test_seed(), path(HOT_ACCOUNT, FIRST_HOT_INDEX + index))
            for index in range(len(old.hot_addresses) + 1)
        ]
        warm = derive_key(test_seed(), path(WARM_ACCOUNT, FIRST_HOT_INDEX))
        seam.desk = SigningDesk(
            hot_keys=keys, deposit_xpub=old.deposit_xpub, policy=old.policy, journal=old.journal,
            deposit_keys=HdDepositKeys(SecretText(TEST_MNEMONIC)), warm_key=warm,
        )  # fmt: skip
        seam.signer = LocalSigner(seam.desk)
        lanes = seam.desk.hot_addresses
        async with seam.db.transaction() as session:
            await custody.register_house_address(
                session, network="local", address=lanes[-1], place="hot"
            )
        self._let_sweeps_go_to(lanes)
        async with seam.operators.transaction() as session:
            working = await hot.working(session, "local")
        if working is not None:
            contracts = {**seam.network.contracts, "treasury": working}
            seam.network = replace(seam.network, contracts=contracts)
            await self._fund(working)
        await self._fund_warm()
        self._stage.stand()
        await self._command("standby", "--address", lanes[-1])

    def _let_sweeps_go_to(self, lanes: tuple[str, ...]) -> None:
        """The signer's policy when keys have changed."""
        desk = self._seam.desk
        [(chain_id, chain)] = desk.policy.chains.items()
        mine = {chain_id: replace(chain, sweep_to=frozenset(lanes))}
        desk.policy = replace(desk.policy, chains=mine)

    # Calm weather

    async def calm(self) -> None:
        """All that is left to be done is done, or taken off the list."""
        await self._try(1.0)
        for move_id in self._proposed:  # what could not be, or an old copy has so again
            if await self._still_proposed(move_id):
                async with self._seam.operators.transaction() as session:
                    await moves.dismiss(session, move_id, by="bob")
        self._chores = []
        for row in await self._seam.rows(_NOBODY_VOUCHES):  # to a hot address that is given up now
            async with self._seam.operators.transaction() as session:
                await moves.dismiss(session, row.id, by="bob")
        await self._after_evacuation()
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
        to_cold: Counter[str] = Counter()
        for row in rows:
            ends[f"{row.kind} {row.state}"] += 1
            if row.state == "final_ok" and row.to_address == COLD.address:
                to_cold[row.asset] += int(row.amount_minor)
        to_cold.subtract(await self._left_cold())
        for asset in self._assets:
            came = await seam.on_chain(COLD.address, asset) - self._before[asset]
            if came != to_cold[asset]:
                wrong.append(f"{came} {asset} came to cold, its moves say {to_cold[asset]}")
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

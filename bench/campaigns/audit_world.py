"""A whole house in one process, for audits: HTTP above, PostgreSQL below, Anvil beside it.

Everything in its books comes by the front door: deposits from the chain, top-ups from the bank,
and requests over HTTP with their idempotency keys. `step` does one thing at random.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import httpx2

from api.app import create_app
from bench.campaigns.audit_seldom import SIGNERS, SeldomDeeds
from bench.campaigns.audit_topups import TopupDeeds
from chain.address import checked
from chain.registry import dump_networks
from keys.derivation import fingerprint
from keys.public import PublicKeys, write_public
from wallet import holds, identity, ledger, listed
from wallet.auditor.instance import Instance
from wallet.bootstrap import Services
from wallet.db import Database
from wallet.errors import ChainUnavailable
from wallet.onchain import runner
from wallet.outbox import Relay
from wallet.seal import Sealer
from wallet.settings import Settings
from wallet.testing.databases import ScratchDatabase
from wallet.testing.payments import CLABE, IBAN, PaymentWorld
from wallet.testing.seam import Seam
from wallet.treasury import moves

BASE_URL = "http://localhost:8000"
PASSWORD = "an unlikely passphrase 7"
COLD = checked("0x00000000000000000000000000000000c01d0001")
OUTSIDE = 0xA0D1_7000_0000


@dataclass
class Person:
    """Somebody signed in."""

    id: str
    handle: str
    token: str
    address: str


@dataclass
class AuditWorld:
    """`files`: networks.toml and keys.json, as an instance has them."""

    seam: Seam
    money: PaymentWorld
    bank_db: Database
    operators: Database
    topups: TopupDeeds
    seldom: SeldomDeeds
    http: httpx2.AsyncClient
    app: Any
    files: Path
    dice: random.Random
    people: list[Person] = field(default_factory=list)
    open_holds: list[tuple[Person, Person, str]] = field(default_factory=list)
    payments: list[tuple[Person, str]] = field(default_factory=list)
    withdrawals: list[tuple[Person, str]] = field(default_factory=list)
    numbers: Any = field(default_factory=lambda: count(1))

    @classmethod
    async def open(
        cls, database: ScratchDatabase, node_url: str, folder: Path, seed: int = 1
    ) -> Self:
        """A funded house with `people` of nobody yet."""
        db, bank_db = Database(database.app_url), Database(database.app_url)
        operators = Database(database.operator_url)
        seam = await Seam.open(
            db, node_url, folder / "signer", sweeps="prefund", cold=COLD,
            warm=[key.address for key in SIGNERS.values()],
        )  # fmt: skip
        money = PaymentWorld(db, bank_db)
        money.assets = seam.assets
        money.tasks = money.new_tasks()
        await money.open()
        xpub = await seam.signer.deposit_xpub()
        await listed.remember(db, seam.assets)
        public = PublicKeys(xpub, fingerprint(xpub), tuple(await seam.signer.hot_addresses()))
        dump_networks(folder / "networks.toml", {"local": seam.network})
        write_public(folder / "keys.json", public)
        services = Services(
            settings=Settings(mode="sandbox", database_url=database.app_url),
            db=db,
            assets=seam.assets,
            networks={"local": seam.network},
            chains={"local": seam.chain},
            failovers={},
            rpcs={},
            faults=seam.switch,
            house=public,
            deriver=seam.deriver,
            signer=seam.signer,
        )
        app = create_app(services)
        http = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app, raise_app_exceptions=False), base_url=BASE_URL
        )
        await seam.fund_house()
        dice = random.Random(seed)
        topups = TopupDeeds(db, bank_db, operators, money, dice)
        seldom = SeldomDeeds(seam, COLD)
        return cls(seam, money, bank_db, operators, topups, seldom, http, app, folder, dice)

    async def close(self) -> None:
        """Every connection to the database."""
        await self.http.aclose()
        await self.app.state.bifold.writer.aclose()
        await self.seam.close()
        await self.seam.db.dispose()
        await self.bank_db.dispose()
        await self.operators.dispose()

    # People

    async def person(self, *, eth: str = "10", usdc: str = "2000", eur: str = "5000.00") -> Person:
        """Registered, with coins from the chain and money from the bank."""
        number = next(self.numbers)
        async with self.seam.db.transaction() as session:
            user = await identity.register(
                session, email=f"person{number}@example.org", password=PASSWORD,
                display_name=f"Person {number}", country="DE", sandbox=True,
            )  # fmt: skip
            opened = await identity.open_session(session, principal_id=user.id, kind="api")
        assert opened.token is not None
        address = await self.seam.address(user.id)
        made = Person(user.id, user.handle, opened.token, address)
        self.people.append(made)
        await self.seam.pay_in(address, eth, "ETH")
        await self.seam.pay_in(address, usdc, "USDC")
        await self.money.bank.receive(
            reference=f"in-{number}", money=self.seam.money(eur, "EUR"), about=user.id
        )
        await self.money.reader.tick()
        await self.seam.finish()
        return made

    async def post(self, who: Person, path: str, body: object = None) -> dict[str, Any]:
        """One request with a key of its own. A refusal is an answer too."""
        answer = await self.http.post(
            path,
            json=body,
            headers={
                "Authorization": f"Bearer {who.token}",
                "Idempotency-Key": f"k{next(self.numbers)}",
            },
        )
        told: dict[str, Any] = answer.json() if answer.content else {}
        return told | {"http_status": answer.status_code}

    # What people do

    async def transfer(self, payer: Person, payee: Person, amount: str, asset: str) -> None:
        """Inside the house."""
        await self.post(
            payer, "/v1/transfers",
            {"to": f"@{payee.handle}", "money": {"amount": amount, "asset": asset}},
        )  # fmt: skip

    async def hold(self, payer: Person, payee: Person, amount: str) -> None:
        """Money set aside for somebody."""
        made = await self.post(
            payer, "/v1/holds",
            {"to": f"@{payee.handle}", "money": {"amount": amount, "asset": "EUR"},
             "expires_in_seconds": 3600},
        )  # fmt: skip
        if made["http_status"] < 300:
            self.open_holds.append((payer, payee, made["id"]))

    async def end_hold(self, how: str) -> None:
        """Captured in part or whole, given back, or left to its time."""
        if not self.open_holds:
            return
        payer, payee, hold_id = self.open_holds.pop(self.dice.randrange(len(self.open_holds)))
        if how == "part":
            money = {"amount": "0.01", "asset": "EUR"}
            await self.post(payee, f"/v1/holds/{hold_id}/capture", {"money": money})
            self.open_holds.append((payer, payee, hold_id))
        elif how == "capture":
            await self.post(payee, f"/v1/holds/{hold_id}/capture", {})
        elif how == "void":
            await self.post(payer, f"/v1/holds/{hold_id}/void")
        else:
            await self.money.advance(3601)
            await holds.expire(self.seam.db, self.seam.assets)
            await self.money.table_rates()

    async def convert(self, who: Person, source: str, target: str, amount: str) -> None:
        """By a quote, at once."""
        quote = await self.quote(who, "conversion", source, target, amount)
        if quote is not None:
            await self.post(who, "/v1/conversions", {"quote_id": quote})

    async def quote(
        self, who: Person, kind: str, source: str, target: str, amount: str
    ) -> str | None:
        """The id of a live quote."""
        await self.money.table_rates()
        made = await self.post(
            who, "/v1/quotes",
            {"kind": kind, "source_asset": source, "target_asset": target,
             "source_amount": amount},
        )  # fmt: skip
        return str(made["id"]) if made["http_status"] < 300 else None

    async def pay(self, who: Person, source: str, amount: str) -> None:
        """Money abroad: EUR to Mexico, or USDC to Europe."""
        target = "MXN" if source == "EUR" else "EUR"
        quote = await self.quote(who, "payment", source, target, amount)
        kind = {"type": "clabe", "clabe": CLABE, "country": "MX"}
        if source != "EUR":
            kind = {"type": "iban", "iban": IBAN, "country": "DE"}
        to = await self.post(who, "/v1/recipients", {"name": "María García", **kind})
        if quote is None or to["http_status"] >= 300:
            return
        made = await self.post(
            who, "/v1/payments",
            {"quote_id": quote, "recipient_id": to["id"], "purpose": "family_support"},
        )  # fmt: skip
        if made["http_status"] < 300:
            self.payments.append((who, made["id"]))

    async def advance_payments(self) -> None:
        """As the worker does, without waiting for the end."""
        for _, payment_id in self.payments:
            await self.money.tasks.advance(payment_id)
        await self.money.bank.tick()
        await self.money.reader.tick()

    async def end_payment(self, how: str) -> None:
        """One payment to its end: paid, refused, returned, cancelled."""
        if not self.payments:
            return
        who, payment_id = self.payments.pop()
        if how == "cancel":
            await self.post(who, f"/v1/payments/{payment_id}/cancel")
            return
        fault = {"refuse": "payout_refused", "return": "payout_rejected"}.get(how)
        if fault is not None:
            await self.money.fault(fault, on=True)
        await self.money.tasks.advance(payment_id)
        if fault is not None:
            await self.money.fault(fault, on=False)
        for _ in range(3):
            await self.money.advance(31)
            await self.money.bank.tick()
            await self.money.tasks.advance(payment_id)
        await self.money.reader.tick()
        await self.money.table_rates()

    async def withdraw(self, who: Person, amount: str, asset: str) -> None:
        """Out to an address that nobody had before."""
        await self.seam.observer.tick()  # a slow machine must not make the head too old
        await self.money.table_rates()
        made = await self.post(
            who, "/v1/withdrawals",
            {"network": "local", "money": {"amount": amount, "asset": asset},
             "to_address": f"0x{OUTSIDE + next(self.numbers):040x}"},
        )  # fmt: skip
        if made["http_status"] < 300:
            self.withdrawals.append((who, made["id"]))

    async def cancel_withdrawal(self) -> None:
        """Taken back, if it is not too late."""
        if self.withdrawals:
            who, withdrawal_id = self.withdrawals.pop()
            await self.post(who, f"/v1/withdrawals/{withdrawal_id}/cancel")

    async def to_cold(self) -> None:
        """Coins of the house go hot to cold, as one operator says and another agrees."""
        async with self.seam.operators.transaction() as session:
            made = await moves.propose(
                session, network="local", money=self.seam.money("0.5", "ETH"), kind="to_cold",
                to_address=COLD, by="ada",
            )  # fmt: skip
            await moves.approve(
                session, made, by="ben", chain=self.seam.chain, assets=self.seam.assets,
                sender=(await self.seam.signer.hot_addresses())[0],
            )  # fmt: skip

    async def relay(self) -> None:
        """Promised events are published."""
        await Relay(self.seam.db).tick()

    async def seal(self) -> None:
        """As the worker does, five times a second."""
        await Sealer(self.seam.db).tick()

    async def fold(self) -> None:
        """As the worker does each second."""
        async with self.seam.db.transaction() as session:
            await ledger.fold(session, max_rows=self.dice.choice([3, 5_000]))

    # One of everything

    async def story(self) -> None:
        """Every flow at least once, to each of its ends, and some of each left open."""
        ada, ben, cyd = [await self.person() for _ in range(3)]
        for amount in ("1.00", "0.01", "250.40"):
            await self.transfer(ada, ben, amount, "EUR")
            await self.transfer(ben, cyd, "0.01", "EUR")
        await self.transfer(cyd, ada, "0.000000000000000001", "ETH")
        money = {"amount": "17.00", "asset": "EUR"}
        await self.post(cyd, "/v1/topups", {"method": "bank_transfer", "money": money})
        for how in ("capture", "void", "expire", "part"):
            await self.hold(ada, ben, "12.34")
            await self.end_hold(how)
        await self.convert(ada, "EUR", "USDC", "100.00")
        await self.convert(ben, "USDC", "EUR", "55.123456")
        await self.convert(cyd, "EUR", "JPY", "77.77")
        await self.quote(cyd, "conversion", "EUR", "USD", "5.00")
        for source in ("EUR", "USDC"):
            for how in ("paid", "refuse", "return", "cancel"):
                await self.pay(ben, source, "30.00")
                await self.end_payment(how)
        debtor, gone = [await self.person() for _ in range(2)]
        await self.topups.story(ada.id, ben.id, debtor.id, gone.id)
        await self.withdraw(ada, "0.5", "ETH")
        await self.withdraw(ben, "25", "USDC")
        await self.seam.finish()
        await self.seam.finish()
        await self.withdraw(ada, "0.1", "ETH")
        await self.cancel_withdrawal()
        await self.seam.sweeper.tick()
        await self.to_cold()
        await self.seam.finish()
        await self.seam.sweeper.tick()
        await self.seam.finish()
        await self.seldom.story()
        await self.relay()
        await self.fold()
        await self.seal()
        # Left open: a hold, payments under way, a withdrawal in its queue, a deposit not final.
        await self.hold(cyd, ada, "9.99")
        await self.pay(cyd, "EUR", "40.00")
        await self.pay(cyd, "USDC", "41.00")
        await self.money.tasks.advance(self.payments[0][1])
        await self.withdraw(cyd, "0.2", "ETH")
        await self.seam.pay_in(ada.address, "0.75", "ETH")
        await self.seam.observer.tick()
        await self.seam.scanner.tick()
        await self.transfer(cyd, ben, "3.33", "EUR")
        await self.seal()

    # At random

    async def step(self) -> str:
        """One thing that people, bank, chain or worker may do now; its name."""
        dice = self.dice
        one, two = dice.sample(self.people, 2)
        cents = f"{dice.randint(0, 90)}.{dice.randint(1, 99):02d}"
        deeds: list[tuple[str, int, Callable[[], Any]]] = [
            ("transfer", 6, lambda: self.transfer(one, two, cents, "EUR")),
            ("transfer_coin", 2, lambda: self.transfer(one, two, "0.000000000000000123", "ETH")),
            ("hold", 4, lambda: self.hold(one, two, cents)),
            ("end_hold", 4, lambda: self.end_hold(dice.choice(["part", "capture", "void"]))),
            ("expire", 1, lambda: self.end_hold("expire")),
            ("convert", 3, lambda: self.convert(one, *self._pair(), cents)),
            ("pay_abroad", 3, lambda: self.pay(one, dice.choice(["EUR", "USDC"]), "20.00")),
            ("advance_payments", 3, self.advance_payments),
            ("end_payment", 3, lambda: self.end_payment(
                dice.choice(["paid", "refuse", "return", "cancel"]))),
            ("withdraw", 3, lambda: self.withdraw(one, *dice.choice(
                [("0.01", "ETH"), ("3.5", "USDC")]))),
            ("cancel_withdrawal", 1, self.cancel_withdrawal),
            ("sweep", 1, self.seam.sweeper.tick),
            ("deposit", 2, lambda: self.seam.pay_in(one.address, "0.25", "ETH")),
            ("pass", 4, self.seam.pass_once),
            ("mine", 4, lambda: self.seam.mine(dice.choice([1, 3, 9]))),
            ("fold", 3, self.fold),
            ("relay", 3, self.relay),
            ("seal", 2, self.seal),
            ("seldom", 2, lambda: self.seldom.some(
                dice.choice(["warm", "cold", "stranger", "arrives", "aside"]),
                dice.randint(1, 10**15))),
            ("card", 3, lambda: self.topups.by_card(one.id, cents)),
            ("bank_topup", 2, lambda: self.topups.announced(one.id, cents)),
            ("stray", 1, lambda: self.topups.stray(cents)),
            ("assign", 1, lambda: self.topups.assign(one.id)),
            ("charge_back", 1, self.topups.charge_back),
            ("topup_work", 3, self.topups.work),
            ("reverse", 1, self.topups.reverse),
            ("correct", 1, lambda: self.topups.correct(one.id, cents)),
        ]  # fmt: skip
        name, _, deed = dice.choices(deeds, weights=[weight for _, weight, _ in deeds])[0]
        try:
            await deed()
        except NotImplementedError:
            pass
        except ChainUnavailable:
            # A slow machine made the head too old: a worker's loop says so and goes on, too.
            return "node too slow"
        return name

    def _pair(self) -> tuple[str, str]:
        source, target = self.dice.sample(["EUR", "USD", "USDC", "ETH"], 2)
        return ("EUR", target) if source in ("USD", "ETH") and target != "EUR" else (source, target)


async def tell(database: ScratchDatabase, node_url: str, folder: Path) -> Instance:
    """A house in which everything was done once stays behind: its database, its files here."""
    world = await AuditWorld.open(database, node_url, folder)
    try:
        # As on a node that runs a first nonce twice: it is used up for nothing.
        with patch.object(runner, "must_burn", lambda _version: True):
            await world.story()
    finally:
        await world.close()
    return Instance.read(folder / "networks.toml", folder / "keys.json")

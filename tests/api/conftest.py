"""The whole app in this process, over a fresh database, a fake node and real people."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from api.app import create_app
from chain.client import ChainClient
from chain.faults import FaultSwitch
from chain.registry import Network, Token
from chain.testing.fake_node import FAUCET, FakeNode
from keys import derivation
from keys.mnemonic import to_seed
from keys.public import PublicKeys
from keys.secret import SecretText
from wallet import identity, payouts, topups
from wallet.bootstrap import Services, asset_book
from wallet.db import Database
from wallet.onchain import signers
from wallet.payouts import SimulatedBank
from wallet.settings import Settings
from wallet.testing.databases import ScratchDatabase
from wallet.testing.exchange import ExchangeBed

BASE_URL = "http://localhost:8000"
USDC_CONTRACT = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
# The world's best known phrase: worth nothing, on purpose.
PHRASE = "test test test test test test test test test test test junk"
PASSWORD = "an unlikely passphrase 7"


def public_keys() -> PublicKeys:
    seed = to_seed(SecretText(PHRASE))
    xpub = derivation.account_xpub(seed, derivation.DEPOSIT_ACCOUNT)
    hot = derivation.address_of(
        derivation.derive_key(seed, derivation.path(derivation.HOT_ACCOUNT, 0))
    )
    return PublicKeys(xpub, derivation.fingerprint(xpub), (hot,))


def local_network() -> Network:
    return Network(
        name="local",
        chain_id=31337,
        rpc_urls=("http://127.0.0.1:1",),
        native_asset="ETH",
        block_time_ms=1000,
        confirmations=8,
        finality="depth",
        logs_window=1000,
        min_tip_wei=10**9,
        max_fee_wei=500 * 10**9,
        bump_percent=20,
        tokens=(Token("USDC", USDC_CONTRACT, 6),),
        local_snapshots=False,
    )


@dataclass
class Person:
    """Somebody signed in, and their requests."""

    id: str
    token: str
    http: httpx2.AsyncClient
    keys: Any = field(default_factory=lambda: count(1))

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def get(self, path: str, **params: Any) -> httpx2.Response:
        return await self.http.get(path, headers=self.headers, params=params)

    async def post(
        self, path: str, body: object = None, *, key: str | None = None, **more: Any
    ) -> httpx2.Response:
        """With a fresh idempotency key unless one is named."""
        headers = {**self.headers, "Idempotency-Key": key or f"{self.id}-{next(self.keys)}"}
        return await self.http.post(path, json=body, headers=headers, **more)

    async def send(self, method: str, path: str, **more: Any) -> httpx2.Response:
        headers = {**self.headers, **more.pop("headers", {})}
        return await self.http.request(method, path, headers=headers, **more)

    async def available(self, asset: str) -> str | None:
        rows = (await self.get("/v1/balances")).json()["data"]
        return next((row["available"] for row in rows if row["asset"] == asset), None)


@dataclass
class World:
    """The service, its parts, and ways to set a scene."""

    services: Services
    node: FakeNode
    http: httpx2.AsyncClient
    bed: ExchangeBed
    numbers: Any = field(default_factory=lambda: count(1))

    async def person(self, **balances: str) -> Person:
        """A registered, signed-in person with these balances."""
        number = next(self.numbers)
        async with self.services.db.transaction() as session:
            user = await identity.register(
                session,
                email=f"person{number}@example.org",
                password=PASSWORD,
                display_name=f"Person {number}",
                country="DE",
                sandbox=True,
            )
            opened = await identity.open_session(session, principal_id=user.id, kind="api")
        assert opened.token is not None
        for asset, amount in balances.items():
            await self.bed.give(user.id, amount, asset)
        return Person(user.id, opened.token, self.http)

    async def counts(self) -> dict[str, int]:
        """How many rows each table has that a money request could write to."""
        tables = (
            "entries", "postings", "holds", "accounts", "transfers", "withdrawals", "quotes",
            "conversions", "payments", "recipients", "chain_intents", "idempotency_answers",
            "outbox", "deposit_addresses", "topups", "cards", "jobs.procrastinate_jobs",
        )  # fmt: skip
        async with self.services.db.transaction() as session:
            return {
                table: int(await session.scalar(text(f"SELECT count(*) FROM {table}")) or 0)
                for table in tables
            }


def build_services(url: str, node: FakeNode, **settings: Any) -> Services:
    networks = {"local": local_network()}
    house = public_keys()
    return Services(
        settings=Settings(**{"mode": "sandbox", "database_url": url, **settings}),
        db=Database(url),
        assets=asset_book(networks),
        networks=networks,
        chains={"local": ChainClient(networks["local"], node.rpc)},
        failovers={},
        rpcs={"local": node.rpc},
        faults=FaultSwitch(),
        house=house,
        deriver=derivation.DepositDeriver(house.deposit_xpub),
        signer=None,
    )


@pytest.fixture
def node() -> FakeNode:
    node = FakeNode()
    node.add_token(USDC_CONTRACT, owner=FAUCET, supply=10**15)
    return node


@pytest.fixture
async def world(database: ScratchDatabase, node: FakeNode) -> AsyncIterator[World]:
    """Errors inside the app are answered as in service, never raised into the test."""
    services = build_services(database.app_url, node)
    bed = ExchangeBed(services.db, services.assets)
    await bed.table_rates()
    await payouts.seed_house(
        services.db, SimulatedBank(services.db), services.assets, topups.IncomingTransfers()
    )
    app = create_app(services)
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url=BASE_URL) as http:
        yield World(services, node, http, bed)
    await app.state.bifold.writer.aclose()  # the lifespan's work: this transport has none
    await services.aclose()


@pytest.fixture
async def observed(world: World) -> World:
    """The same, with a network that its observer saw just now."""
    await see_network(world)
    return world


async def see_network(world: World) -> None:
    async with world.services.db.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO network_state (network, chain_id, head_number, head_hash, head_time,"
                " base_fee_wei, tip_wei, cap_wei, as_of, healthy, snapshot_block) VALUES ('local',"
                " 31337, 100, '0x00', clock_timestamp(), 1000000000, 1000000000, 3000000000,"
                " clock_timestamp(), true, 100) ON CONFLICT (network) DO UPDATE SET"
                " as_of = clock_timestamp(), healthy = true"
            )
        )
        await signers.compared(session, "local")  # as after a worker's first pass

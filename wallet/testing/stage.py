"""The stage of the send campaign: a seam whose node is behind a meddler, on Anvil or on a fake."""

from __future__ import annotations

import contextlib
import itertools
import random
from asyncio import gather
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import orjson
from eth_account import Account
from sqlalchemy.exc import OperationalError

from chain.client import ChainClient
from chain.errors import ChainError
from chain.testing import FakeNode, FaultProxy, MemoryProxy
from keys.derivation import HOT_ACCOUNT, derive_key, path
from keys.testing import test_seed
from wallet.db import Database
from wallet.deposits import Scanner
from wallet.errors import WalletError
from wallet.followers import followers
from wallet.fx.feed import Price, RateFeed, SimulatedRates
from wallet.onchain import Desk, NetworkObserver, signers
from wallet.onchain.review import resolve
from wallet.testing.baton import Baton
from wallet.testing.meddler import Meddler
from wallet.testing.seam import FIRST_HOT_INDEX, GWEI, Seam
from wallet.testing.trace import Points, Trace
from wallet.withdrawals import Planner

FIRST_ADDRESS = 0x5EED_0000_0000
NEVER = 1e9
"""Seconds until a stuck payment is outbid, where a fault does not ask for it: a slow machine must
not change what a seed does."""
THIEF = "0x0000000000000000000000000000000000badbad"


class Stage:
    """One seam whose node is behind a meddler; schedules follow each other on it.

    With `fake` every request, step and state goes to `trace`, and workers take turns by seed.
    """

    def __init__(self, seam: Seam, person: str, trace: Trace, fake: FakeNode | None) -> None:
        rpc = seam.reach(seam.url, timeout_seconds=5.0)
        self.seam, self.person, self.meddler = seam, person, Meddler(rpc)
        self.trace, self.points, self.fake = trace, Points(trace), fake
        self.meddler.told = lambda what, content: trace.line(
            "!", f"{what} ".encode() + orjson.dumps(content, default=str)
        )
        self._numbers = itertools.count()
        self._stolen: list[str] = []
        self.first_id = ""
        seam.bump_seconds = NEVER
        self.stand()

    @classmethod
    async def open(
        cls,
        db: Database,
        url: str,
        folder: Path,
        *,
        fake: FakeNode | None = None,
        trace: Trace | None = None,
    ) -> Stage:
        """Fund the house and one person. The seam is the caller's to close."""
        trace = trace or Trace()
        if fake is not None:
            fake.observer = trace.exchanged
        seam = await Seam.open(db, url, folder, transport=None if fake is None else fake.transport)
        await seam.fund_house(eth="5000", usdc="1000000")
        return cls(seam, await seam.funded_person(eth="900", usdc="100000"), trace, fake)

    def stand(self) -> None:
        """The worker of now, behind the meddler."""
        seam = self.seam
        seam.chain = ChainClient(seam.network, self.meddler)
        seam.observer = NetworkObserver(seam.db, seam.chain)
        seam.scanner = Scanner(seam.db, seam.chain, seam.assets)
        seam.planner = Planner(seam.db, {"local": seam.chain}, seam.assets)
        seam.runner = seam.new_runner()

    def proxy(self) -> FaultProxy | MemoryProxy:
        """A server between us and the node, over real HTTP where the node has it."""
        return FaultProxy(self.seam.url) if self.fake is None else self.fake.proxy()

    async def tick(self, blocks: int = 0) -> None:
        """One pass; what a node's fault raises is logged by the loops and tried again."""
        if blocks:
            await self.seam.dev.mine(blocks)
        for work in (self.seam.observer.tick, self.seam.scanner.tick, self.seam.runner.tick):
            with contextlib.suppress(ChainError, WalletError, OperationalError):
                await work()
        if self.fake is not None:
            await self.write_down()

    async def side_by_side(
        self, dice: random.Random, works: Sequence[Callable[[], Awaitable[object]]]
    ) -> None:
        """Workers at once: as the machine has it on Anvil, as the seed has it on a fake."""
        if self.fake is None:
            await gather(*(work() for work in works))
            return
        baton = Baton(dice)
        self.meddler.before = baton.turn
        try:
            await baton.run(works)
        finally:
            self.meddler.before = None

    def address(self) -> str:
        """A recipient nobody was before."""
        return f"0x{FIRST_ADDRESS + next(self._numbers):040x}"

    async def write_down(self) -> None:
        """Where every payment of this schedule stands, into the trace."""
        rows = await self.seam.rows(
            "SELECT i.id, i.state, i.nonce, i.waiting_for, i.reason, i.mined_tx_hash,"
            " i.gas_fee_wei::text, a.seq, a.kind, a.tx_hash, a.sends, a.last_outcome, a.refused"
            " FROM chain_intents i LEFT JOIN chain_attempts a ON a.intent_id = i.id"
            " WHERE i.id > :first ORDER BY i.id, a.seq",
            first=self.first_id,
        )
        self.trace.line("=", orjson.dumps([tuple(row) for row in rows]))

    # The thief, and the operator who comes after

    def foreign(self, nonce: int) -> str:
        """Signed bytes of somebody else who holds the hot key; the loss is remembered."""
        key = derive_key(test_seed(), path(HOT_ACCOUNT, FIRST_HOT_INDEX))
        signed = Account.sign_transaction(
            {
                "type": 2, "chainId": self.seam.network.chain_id, "nonce": nonce,
                "to": bytes.fromhex(THIEF[2:]), "value": 5, "gas": 21_000, "data": b"",
                "maxFeePerGas": 300 * GWEI, "maxPriorityFeePerGas": 200 * GWEI,
            },
            key.reveal(),
        )  # fmt: skip
        self._stolen.append("0x" + bytes(signed.hash).hex())
        return "0x" + bytes(signed.raw_transaction).hex()

    async def operator(self) -> None:
        """End what is in review by what the chain proves, and let the signer go on."""
        seam = self.seam
        desk = Desk(
            seam.db, seam.chain, seam.signer, followers(seam.assets, {"local": seam.network})
        )
        waiting = await seam.rows(
            "SELECT id FROM chain_intents WHERE state = 'in_review' ORDER BY id"
        )
        for row in waiting:
            with contextlib.suppress(WalletError):  # not final yet: asked again the next time
                await resolve(desk, row.id, by="campaign")
        async with seam.operators.transaction() as session:
            for address in await seam.signer.hot_addresses():
                await signers.resume_signer(session, network="local", address=address)

    async def make_good(self) -> None:
        """Give back what the thief's transactions cost, so that books and chain compare."""
        hot = (await self.seam.signer.hot_addresses())[0]
        client = ChainClient(self.seam.network, self.seam.opened[0])
        stolen, self._stolen = self._stolen, []
        for receipt in await client.receipts(stolen) if stolen else []:
            if receipt is not None:
                lost = receipt.fee_wei + 5
                now = await self.seam.on_chain(hot, "ETH")
                await self.seam.node("anvil_setBalance", hot, hex(now + lost))

    async def stamp_rates(self) -> None:
        """The same prices again, as of now."""
        await RateFeed(self.seam.db, source=_StillRates()).tick()


class _StillRates(SimulatedRates):
    """The table and no walk: a price that follows the minute would differ from run to run."""

    async def fetch(self, *, previous: Mapping[str, Decimal], at: datetime) -> Iterable[Price]:
        return await super().fetch(previous={}, at=at)

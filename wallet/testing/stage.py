"""The stage of the send campaign: a seam whose node is behind a meddler, on Anvil or on a fake."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import itertools
import random
from asyncio import gather
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import orjson
from eth_account import Account
from sqlalchemy.exc import OperationalError

from chain.client import ChainClient
from chain.errors import ChainError
from chain.testing import FakeNode, FaultProxy, MemoryProxy
from keys.deposit_keys import HdDepositKeys
from keys.derivation import HOT_ACCOUNT, WARM_ACCOUNT, derive_key, path
from keys.secret import SecretText
from keys.testing import TEST_MNEMONIC, test_seed
from wallet import cli_operator
from wallet.db import Database
from wallet.deposits import Scanner
from wallet.errors import WalletError
from wallet.followers import followers
from wallet.fx.feed import Price, RateFeed, SimulatedRates
from wallet.onchain import Desk, NetworkObserver, signers
from wallet.onchain.batch import with_batches
from wallet.onchain.review import resolve
from wallet.sweeps import Sweeper
from wallet.testing.baton import Baton
from wallet.testing.databases import ScratchCluster, ScratchDatabase
from wallet.testing.hands import COLD, OPERATORS
from wallet.testing.meddler import Meddler
from wallet.testing.own import Own
from wallet.testing.seam import FIRST_HOT_INDEX, GWEI, Seam
from wallet.testing.trace import Points, Trace
from wallet.treasury import TreasuryWatch
from wallet.withdrawals import Planner

FIRST_ADDRESS = 0x5EED_0000_0000


@dataclass(frozen=True, slots=True)
class House:
    """What kind of house plays: hot addresses side by side, and whether it pays in batches.

    `payments`: fewest and most of a schedule; `assets`: what they are of, each as likely. `sweeps`:
    it moves its own coins, too, and by which means deposit addresses are emptied; `warm`: between
    hot, warm and cold; `evacuates`: it loses its hot key now and then, and its last one is on
    standby."""

    hot_keys: int
    batches: bool
    payments: tuple[int, int]
    assets: tuple[tuple[str, str], ...]
    sweeps: Literal["", "prefund", "eip7702", "create2"] = ""
    warm: bool = False
    evacuates: bool = False


_COINS, _TOKENS = ("ETH", "0.001"), ("USDC", "1.5")
HOUSES = {
    "one": House(1, False, (1, 3), (_COINS, _TOKENS)),
    "lanes": House(3, False, (2, 4), (_COINS, _TOKENS)),
    "batches": House(1, True, (5, 6), (_COINS, *[_TOKENS] * 9)),
    "batches of two": House(2, True, (5, 6), (_COINS, *[_TOKENS] * 9)),
}
OWN_HOUSES = {
    "swept": House(1, False, (1, 2), (_COINS, _TOKENS), "prefund"),
    "warm": House(2, False, (1, 2), (_COINS, _TOKENS), "prefund", warm=True),
    "evacuated": House(2, False, (1, 2), (_COINS, _TOKENS), "prefund", warm=True, evacuates=True),
    "delegated": House(1, False, (1, 2), (_COINS, _TOKENS), "eip7702"),
    "key-less": House(1, False, (1, 2), (_COINS, _TOKENS), "create2"),
}
"""Houses that move their own coins beside their customers'."""
ON_ANVIL = ("delegated", "key-less")
"""Of these: whose contracts no fake node runs."""
NEVER = 1e9
"""Seconds until a stuck payment is outbid, where a fault does not ask for it: a slow machine must
not change what a seed does."""
THIEF = "0x0000000000000000000000000000000000badbad"


class Backup:
    """A copy of a scratch database, kept and put back."""

    def __init__(self, cluster: ScratchCluster, database: ScratchDatabase) -> None:
        self._cluster, self._database = cluster, database
        self._copy: ScratchDatabase | None = None

    def keep(self) -> None:
        """Copy it; an older copy is dropped."""
        if self._copy is not None:
            self._cluster.drop(self._copy)
        self._copy = self._cluster.copy(self._database)

    def put_back(self) -> None:
        """The copy takes its place."""
        assert self._copy is not None
        self._cluster.put_back(self._database, self._copy)
        self._copy = None


class Stage:
    """One seam whose node is behind a meddler; schedules follow each other on it.

    With `fake` every request, step and state goes to `trace`, and workers take turns by seed.
    """

    def __init__(
        self,
        seam: Seam,
        person: str,
        house: House,
        trace: Trace,
        fake: FakeNode | None,
        backup: Backup | None,
    ) -> None:
        rpc = seam.reach(seam.url, timeout_seconds=5.0)
        self.seam, self.person, self.house, self.meddler = seam, person, house, Meddler(rpc)
        self.trace, self.points, self.fake, self.backup = trace, Points(trace), fake, backup
        self.meddler.told = lambda what, content: trace.line(
            "!", f"{what} ".encode() + orjson.dumps(content, default=str)
        )
        self._numbers = itertools.count()
        self._stolen: list[tuple[str, str]] = []
        self._deposits: dict[str, int] = {}
        self.first_id = ""
        self.own = Own(self) if house.sweeps else None
        seam.bump_seconds = NEVER
        seam.batch_rest_seconds = 0.0  # a schedule lasts less
        self.stand()

    @classmethod
    async def open(
        cls,
        db: Database,
        url: str,
        folder: Path,
        *,
        house: str = "one",
        fake: FakeNode | None = None,
        trace: Trace | None = None,
        backup: Backup | None = None,
    ) -> Stage:
        """Fund this house and one person. The seam is the caller's to close."""
        trace, kind = trace or Trace(), {**HOUSES, **OWN_HOUSES}[house]
        if fake is not None:
            fake.observer = trace.exchanged
        seam = await Seam.open(
            db, url, folder, hot_keys=kind.hot_keys, batches=kind.batches, sweeps=kind.sweeps,
            cold=COLD.address if kind.sweeps else None,
            warm=[one.address for one in OPERATORS] if kind.warm else (),
            transport=None if fake is None else fake.transport,
        )  # fmt: skip
        if not kind.sweeps:
            await seam.fund_house(eth=str(5000 // kind.hot_keys), usdc="1000000")
        person = await seam.funded_person(eth="900", usdc="100000")
        stage = cls(seam, person, kind, trace, fake, backup)
        if stage.own is not None:
            await stage.own.open()
        return stage

    def stand(self) -> None:
        """The worker of now, behind the meddler."""
        seam = self.seam
        seam.chain = ChainClient(seam.network, self.meddler)
        seam.observer = NetworkObserver(seam.db, seam.chain)
        seam.scanner = Scanner(seam.db, seam.chain, seam.assets)
        seam.planner = Planner(seam.db, {"local": seam.chain}, seam.assets)
        seam.runner = seam.new_runner()
        seam.sweeper = Sweeper(seam.db, seam.chain, seam.assets, seam.signer, patience_seconds=0.0)
        seam.treasury = TreasuryWatch(seam.db, seam.chain, seam.assets)

    def proxy(self) -> FaultProxy | MemoryProxy:
        """A server between us and the node, over real HTTP where the node has it."""
        return FaultProxy(self.seam.url) if self.fake is None else self.fake.proxy()

    async def tick(self, blocks: int = 0) -> None:
        """One pass; what a node's fault raises is logged by the loops and tried again."""
        if blocks:
            await self.seam.dev.mine(blocks)
        seam = self.seam
        works = [seam.observer.tick, seam.scanner.tick, seam.runner.tick]
        if self.own is not None and not self.own.rests:
            works = [self.own.act, *works, self.own.work]
        for work in works:
            with contextlib.suppress(ChainError, WalletError, OperationalError):
                await work()
        self.trace.passes += 1
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

    async def lane(self, dice: random.Random, *, mined: bool = False) -> str:
        """An address of the house that has given a nonce in this schedule, `mined`: that is mined
        and not final; any hot one, where none has."""
        rows = await self.seam.rows(
            "SELECT DISTINCT s.address, s.role, s.deposit_index FROM chain_intents i"
            " JOIN chain_signers s ON s.network = i.network AND s.address = i.from_address"
            " WHERE i.id > :first AND i.nonce IS NOT NULL AND (NOT :mined OR i.state = 'mined')"
            " ORDER BY 1",
            first=self.first_id,
            mined=mined,
        )
        self._deposits = {row.address: row.deposit_index for row in rows if row.role == "deposit"}
        used = [str(row.address) for row in rows]
        return dice.choice(used or self.seam.desk.hot_addresses)

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

    def foreign(self, lane: str, nonce: int) -> str:
        """Signed bytes of somebody else who holds this address's key; the loss is remembered."""
        hots, gwei = self.seam.desk.hot_addresses, 100
        if lane in hots:
            key = derive_key(test_seed(), path(HOT_ACCOUNT, FIRST_HOT_INDEX + hots.index(lane)))
        elif lane == self.seam.desk.warm_address:
            key = derive_key(test_seed(), path(WARM_ACCOUNT, FIRST_HOT_INDEX))
        else:  # which holds what its gas was thought to cost
            gwei, key = 3, HdDepositKeys(SecretText(TEST_MNEMONIC)).key(self._deposits[lane])
        signed = Account.sign_transaction(
            {
                "type": 2, "chainId": self.seam.network.chain_id, "nonce": nonce,
                "to": bytes.fromhex(THIEF[2:]), "value": 5, "gas": 21_000, "data": b"",
                "maxFeePerGas": 3 * gwei * GWEI, "maxPriorityFeePerGas": 2 * gwei * GWEI,
            },
            key.reveal(),
        )  # fmt: skip
        self._stolen.append((lane, "0x" + bytes(signed.hash).hex()))
        return "0x" + bytes(signed.raw_transaction).hex()

    async def operator(self) -> None:
        """End what is in review by what the chain proves, and let the signer go on."""
        seam = self.seam
        told = followers(seam.assets, {"local": seam.network})
        desk = with_batches(Desk(seam.db, seam.chain, seam.signer, told))
        waiting = await seam.rows(
            "SELECT id FROM chain_intents WHERE state = 'in_review' ORDER BY id"
        )
        for row in waiting:
            with contextlib.suppress(WalletError):  # not final yet: asked again the next time
                await resolve(desk, row.id, by="campaign")
        halted = await seam.rows(
            "SELECT address FROM chain_signers WHERE halted_reason = ANY(:reasons) ORDER BY 1",
            reasons=list(signers.CONTRADICTED),
        )
        for row in halted:  # not those on standby, nor given up
            with contextlib.suppress(WalletError):
                await self._resume(row.address)

    async def _resume(self, address: str) -> None:
        """`bifold chain resume-signer`; behind nonces that no row knows with `--next-nonce`."""
        seam = self.seam
        async with seam.db.transaction() as session:
            row = await signers.lock_signer(session, network="local", address=address)
        if row.halted_reason is None:
            return
        services: Any = SimpleNamespace(
            db=seam.operators, chains={"local": seam.chain}, assets=seam.assets,
            signer=seam.signer, networks={"local": seam.network},
        )  # fmt: skip
        count = await seam.chain.nonce(address)
        chosen = argparse.Namespace(
            network="local", address=address, by="campaign", action="resume-signer",
            next_nonce=count if count > row.next_nonce else None,
        )  # fmt: skip
        with contextlib.redirect_stdout(io.StringIO()):
            await cli_operator.resume(services, chosen)

    # Backups

    async def keep_copy(self) -> None:
        """A backup of the database as it is now."""
        assert self.backup is not None
        await self._leave()
        await asyncio.to_thread(self.backup.keep)
        if self.own is not None:  # what it promised from now on would be lost, and in no row
            self.own.rests = True

    async def put_back(self) -> None:
        """The database is that backup again, and a new worker comes."""
        assert self.backup is not None
        await self._leave()
        await asyncio.to_thread(self.backup.put_back)
        if self.own is not None:
            self.own.rests = False
        self.stand()

    async def _leave(self) -> None:
        await self.seam.db.dispose()
        await self.seam.operators.dispose()

    async def make_good(self) -> None:
        """Give back what the thief's transactions cost, so that books and chain compare."""
        client = ChainClient(self.seam.network, self.seam.opened[0])
        stolen, self._stolen = self._stolen, []
        receipts = await client.receipts([one for _, one in stolen]) if stolen else []
        for (hot, _), receipt in zip(stolen, receipts, strict=True):
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

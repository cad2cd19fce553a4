"""The send campaign: one fault at a time, drawn by a seed, over payments to addresses of their own.

A schedule is a few withdrawals of a person, one kind of fault while the worker is at them, and then
calm weather. What it must end in does not depend on the fault: every recipient has the exact amount
or nothing, nobody is paid twice, nothing is left standing, and books and chain agree.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import OperationalError

from chain.client import ChainClient
from chain.errors import ChainError, NodeRejected
from chain.rpc import JsonRpc
from chain.testing import FaultProxy
from chain.testing.proxy import ReplyFault
from chain.transactions import decode_signed
from wallet import crashpoints
from wallet.deposits import Scanner
from wallet.errors import WalletError
from wallet.onchain import NetworkObserver
from wallet.testing.meddler import SUBMIT, Meddler
from wallet.testing.seam import GWEI, Seam
from wallet.withdrawals import Planner

READS = {"eth_getTransactionReceipt", "eth_getTransactionByHash", "eth_getTransactionCount"}
FIRST_ADDRESS = 0x5EED_0000_0000
ENDS = {"settled", "cancelled", "failed"}
TICKS = 3


class Crash(BaseException):
    """The process dies here."""


@dataclass
class Tally:
    """What a run of schedules came to."""

    schedules: int = 0
    payments: int = 0
    by_end: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


class Stage:
    """One seam whose node is behind a meddler; schedules follow each other on it."""

    def __init__(self, seam: Seam, person: str) -> None:
        rpc = JsonRpc(seam.url, timeout_seconds=5.0)
        seam.opened.append(rpc)
        self.seam, self.person, self.meddler = seam, person, Meddler(rpc)
        self._numbers = itertools.count()
        self.stand()

    @classmethod
    async def open(cls, seam: Seam) -> Stage:
        """Fund the house and one person."""
        await seam.fund_house(eth="5000", usdc="1000000")
        return cls(seam, await seam.funded_person(eth="900", usdc="100000"))

    def stand(self) -> None:
        """The worker of now, behind the meddler."""
        seam = self.seam
        seam.chain = ChainClient(seam.network, self.meddler)
        seam.observer = NetworkObserver(seam.db, seam.chain)
        seam.scanner = Scanner(seam.db, seam.chain, seam.assets)
        seam.planner = Planner(seam.db, {"local": seam.chain}, seam.assets)
        seam.runner = seam.new_runner()

    async def tick(self, blocks: int = 0) -> None:
        """One pass; what a node's fault raises is logged by the loops and tried again."""
        if blocks:
            await self.seam.dev.mine(blocks)
        for work in (self.seam.observer.tick, self.seam.scanner.tick, self.seam.runner.tick):
            with contextlib.suppress(ChainError, WalletError, OperationalError):
                await work()

    def address(self) -> str:
        """A recipient nobody was before."""
        return f"0x{FIRST_ADDRESS + next(self._numbers):040x}"


Fault = Callable[[Stage, random.Random, Sequence[str]], Awaitable[None]]


def losing(before: set[str] | None = None, after: set[str] | None = None) -> Fault:
    """Requests or answers of these methods are lost."""

    async def play(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
        stage.meddler.lose_before, stage.meddler.lose_after = before or set(), after or set()
        for _tick in range(TICKS):
            await stage.tick(dice.randint(0, 1))

    return play


def answering(methods: set[str], answer: Any) -> Fault:
    """These methods answer something else; submissions may have been taken all the same."""

    async def play(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
        reach = dice.random() < 0.5  # whether the node takes what it then denies
        if not reach and SUBMIT in methods:
            stage.meddler.lose_before = {SUBMIT}
        stage.meddler.alter = lambda method, _params, honest: (
            answer if method in methods else honest
        )
        for _tick in range(TICKS):
            await stage.tick(dice.randint(0, 1))

    return play


def over_http(fault: ReplyFault, *, timeout_seconds: float) -> Fault:
    """A real HTTP server between us and the node: submissions, or nearly all calls, meet it."""

    async def play(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
        straight = stage.meddler.inner
        async with FaultProxy(stage.seam.url) as proxy:
            proxy.fault, proxy.methods = fault, dice.choice([{SUBMIT}, READS | {SUBMIT}])
            rpc = JsonRpc(proxy.url, timeout_seconds=timeout_seconds)
            stage.meddler.inner = rpc
            try:
                for _tick in range(TICKS):
                    await stage.tick(dice.randint(0, 1))
            finally:
                stage.meddler.inner = straight
                await rpc.aclose()
        if not proxy.bodies and fault != "hang":  # a short patience may end before it is met
            raise AssertionError(f"the fault {fault!r} met no request")

    return play


def refusing(message: str, code: int = -32000) -> Fault:
    """Submissions are refused with these words, taken or not."""
    return answering({SUBMIT}, NodeRejected(code, message))


async def stale_head(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
    """The node's head is a few blocks old."""
    await stage.tick(dice.randint(3, 6))
    head = await stage.seam.chain.head()
    old = await stage.seam.node(
        "eth_getBlockByNumber", hex(max(head.number - dice.randint(1, 3), 0)), False
    )
    stage.meddler.alter = lambda method, params, honest: (
        old if method == "eth_getBlockByNumber" and next(iter(params)) == "latest" else honest
    )
    for _tick in range(TICKS):
        await stage.tick(dice.randint(0, 1))


async def geths_rule(stage: Stage, dice: random.Random, ids: Sequence[str]) -> None:
    """A pool that wants ten percent more on both fields, while payments are sped up."""
    best: dict[int, tuple[int, int]] = {}

    def like_geth(method: str, params: Sequence[object], honest: Any) -> Any:
        if method != SUBMIT:
            return honest
        fields, _sender = decode_signed(bytes.fromhex(str(params[0])[2:]))
        cap, tip = best.get(fields.nonce, (0, 0))
        other = cap > 0 and (fields.cap, fields.tip) != (cap, tip)
        if other and (10 * fields.cap < 11 * cap or 10 * fields.tip < 11 * tip):
            return NodeRejected(-32000, "replacement transaction underpriced")
        best[fields.nonce] = max(best.get(fields.nonce, (0, 0)), (fields.cap, fields.tip))
        return honest

    stage.meddler.alter = like_geth
    await stage.seam.automine(False)
    await stage.tick()
    for _tick in range(TICKS):
        with contextlib.suppress(WalletError):
            await stage.seam.speed_up(stage.person, dice.choice(ids))
        await stage.tick()


async def forgetful_pool(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
    """All pooled transactions are dropped, or one in the middle."""
    await stage.seam.automine(False)
    await stage.tick()
    if dice.random() < 0.5:
        await stage.seam.node("anvil_dropAllTransactions")
    else:
        rows = await stage.seam.rows(
            "SELECT tx_hash FROM chain_attempts WHERE tx_hash IS NOT NULL"
            " ORDER BY created_at DESC LIMIT 3"
        )
        await stage.seam.node("anvil_dropTransaction", dice.choice(rows).tx_hash)
    await stage.tick(dice.randint(0, 2))


def reorg(shallow: int, deep: int) -> Fault:
    """Blocks fall while payments are in them."""

    async def play(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
        await stage.tick(deep)
        await stage.tick(dice.randint(0, 2))
        await stage.seam.dev.reorg(dice.randint(shallow, deep))
        await stage.tick(dice.randint(0, 1))

    return play


async def fee_spike(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
    """The base fee jumps above what was offered."""
    await stage.seam.automine(False)
    await stage.tick()
    await stage.seam.node("anvil_setNextBlockBaseFeePerGas", hex(dice.randint(5, 300) * GWEI))
    await stage.tick(1)
    await stage.tick()
    await stage.seam.node("anvil_setNextBlockBaseFeePerGas", hex(GWEI))


def crashes(count: int) -> Fault:
    """The process dies between any two steps, `count` times."""

    async def play(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
        for _time in range(count):
            left = dice.randint(1, 20)

            def die(name: str) -> None:
                nonlocal left
                left -= 1
                if left == 0:
                    raise Crash(name)

            crashpoints.install(die)
            try:
                with contextlib.suppress(Crash):
                    for _tick in range(TICKS):
                        await stage.tick(dice.randint(0, 1))
            finally:
                crashpoints.install(None)
            stage.stand()

    return play


async def commit_fails(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
    """The database goes away right before a commit."""
    left = dice.randint(1, 8)

    def fail(name: str) -> None:
        nonlocal left
        left -= ".before_commit" in name
        if left == 0:
            left = -1
            raise OperationalError("COMMIT", {}, Exception("server closed the connection"))

    crashpoints.install(fail)
    try:
        for _tick in range(TICKS):
            await stage.tick(dice.randint(0, 1))
    finally:
        crashpoints.install(None)
    stage.stand()


async def two_workers(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
    """Three workers at the same address."""
    rivals = [stage.seam.new_runner() for _ in range(2)]
    for _tick in range(TICKS):
        await stage.tick(dice.randint(0, 1))
        await asyncio.gather(stage.seam.runner.tick(), *(rival.tick() for rival in rivals))


def wish(name: str) -> Fault:
    """Its owner cancels or speeds up while it is on its way, and blocks come in between."""

    async def play(stage: Stage, dice: random.Random, ids: Sequence[str]) -> None:
        await stage.seam.automine(False)
        await stage.tick()
        for _time in range(2):
            act = stage.seam.cancel if name == "cancel" else stage.seam.speed_up
            with contextlib.suppress(WalletError):
                await act(stage.person, dice.choice(ids))
            await stage.tick(dice.randint(0, 1))

    return play


EVERYTHING = READS | {
    SUBMIT, "eth_chainId", "eth_getBlockByNumber", "eth_feeHistory", "eth_estimateGas",
    "eth_getBalance", "eth_call", "web3_clientVersion",
}  # fmt: skip
FAULTS: dict[str, Fault] = {
    "request lost": losing(before={SUBMIT}),
    "answer lost": losing(after={SUBMIT}),
    "reads lost": losing(before=READS),
    "answers of reads lost": losing(after=READS),
    "node away": losing(before=EVERYTHING),
    "slow node": over_http("hang", timeout_seconds=0.5),
    "308": over_http("redirect", timeout_seconds=5.0),
    "huge answers": over_http("huge", timeout_seconds=5.0),
    "connections cut": over_http("drop_reply", timeout_seconds=5.0),
    "stale head": stale_head,
    "stale nonce": answering({"eth_getTransactionCount"}, "0x0"),
    "no receipts": answering({"eth_getTransactionReceipt"}, None),
    "nothing known": answering({"eth_getTransactionByHash"}, None),
    "garbage for a hash": answering({SUBMIT}, 7),
    "another hash": answering({SUBMIT}, "0x" + "ab" * 32),
    "garbage receipts": answering({"eth_getTransactionReceipt"}, {"status": "maybe"}),
    "garbage blocks": answering({"eth_getBlockByNumber"}, []),
    "garbage fees": answering({"eth_feeHistory"}, {"oldestBlock": "0x1"}),
    "no balance": answering({"eth_getBalance"}, "0x0"),
    "gas too low": answering({"eth_estimateGas"}, hex(21_000)),
    "gas too high": answering({"eth_estimateGas"}, hex(15_000_000)),
    "fees sky-high": answering({"eth_feeHistory"}, {"baseFeePerGas": [hex(10**15)]}),
    "fees for nothing": answering({"eth_feeHistory"}, {"baseFeePerGas": ["0x0"]}),
    "wrong chain id": answering({"eth_chainId"}, "0x1"),
    "geth's rule": geths_rule,
    "already known": refusing("already known"),
    "nonce too low": refusing("nonce too low"),
    "underpriced": refusing("replacement transaction underpriced"),
    "insufficient funds": refusing("insufficient funds for gas * price + value"),
    "words nobody knows": refusing("internal server error, try again"),
    "forgetful pool": forgetful_pool,
    "shallow reorg": reorg(1, 3),
    "deep reorg": reorg(4, 6),
    "fee spike": fee_spike,
    "one crash": crashes(1),
    "three crashes": crashes(3),
    "commit fails": commit_fails,
    "two workers": two_workers,
    "cancel": wish("cancel"),
    "speed-up": wish("speed_up"),
}


async def play(stage: Stage, name: str, seed: int, tally: Tally) -> None:
    """One schedule, from its first withdrawal to calm weather; what is wrong goes to `tally`."""
    dice, seam = random.Random(f"{name}/{seed}"), stage.seam  # noqa: S311 - seeded on purpose
    made: dict[str, tuple[str, str, int]] = {}
    for _ in range(dice.randint(1, 3)):
        to, (asset, amount) = stage.address(), dice.choice([("ETH", "0.001"), ("USDC", "1.5")])
        promised = await seam.withdraw(stage.person, amount, asset, to)
        made[promised.id] = (to, asset, promised.money.minor)
    await FAULTS[name](stage, dice, list(made))
    stage.meddler.calm()
    await seam.automine(True)
    for _ in range(4):
        await stage.tick(seam.network.confirmations)
        ends = {item: (await seam.withdrawal(stage.person, item)).status for item in made}
        if set(ends.values()) <= ENDS:
            break
    where = f"{name}, seed {seed}"
    for item, (to, asset, minor) in made.items():
        end, there = ends[item], await seam.on_chain(to, asset)
        wanted = minor if end == "settled" else 0
        if end not in ENDS:
            tally.wrong.append(f"{where}: stranded as {end}")
        elif there != wanted:
            tally.wrong.append(f"{where}: {end}, and the recipient is off by {there - wanted}")
        tally.by_end[end] = tally.by_end.get(end, 0) + 1
    tally.wrong += [f"{where}: {line}" for line in await seam.differences()]
    tally.schedules += 1
    tally.payments += len(made)

"""Faults between us and a node: what is lost, altered, refused, stale or late."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from chain.errors import NodeRejected
from chain.testing.proxy import ReplyFault
from chain.transactions import decode_signed
from wallet.errors import WalletError
from wallet.testing.meddler import SUBMIT
from wallet.testing.stage import Stage

READS = {"eth_getTransactionReceipt", "eth_getTransactionByHash", "eth_getTransactionCount"}
TICKS = 3
Play = Callable[[Stage, random.Random, Sequence[str]], Awaitable[None]]


EVERYTHING = READS | {
    SUBMIT, "eth_chainId", "eth_getBlockByNumber", "eth_feeHistory", "eth_estimateGas",
    "eth_getBalance", "eth_call", "web3_clientVersion",
}  # fmt: skip


def losing(before: set[str] | None = None, after: set[str] | None = None) -> Play:
    """Requests or answers of these methods are lost."""

    async def play(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
        stage.meddler.lose_before, stage.meddler.lose_after = before or set(), after or set()
        for _tick in range(TICKS):
            await stage.tick(dice.randint(0, 1))

    return play


def answering(methods: set[str], answer: Any) -> Play:
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


def over_http(fault: ReplyFault, *, timeout_seconds: float) -> Play:
    """A server between us and the node: submissions, or nearly all calls, meet it."""

    async def play(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
        straight = stage.meddler.inner
        async with stage.proxy() as proxy:
            proxy.fault, proxy.methods = fault, dice.choice([{SUBMIT}, READS | {SUBMIT}])
            rpc = proxy.rpc(timeout_seconds=timeout_seconds)
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


def refusing(message: str, code: int = -32000) -> Play:
    """Submissions are refused with these words, taken or not."""
    return answering({SUBMIT}, NodeRejected(code, message))


async def no_index(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
    """The node finds no transaction by its hash, until our nonces are used for good; the operator
    asks for the proof meanwhile."""
    stage.meddler.alter = lambda method, _params, honest: (
        None if method in READS - {"eth_getTransactionCount"} else honest
    )
    for blocks in (1, stage.seam.network.confirmations, dice.randint(0, 2)):
        await stage.tick(blocks)
        await stage.tick()
    await stage.operator()


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

"""The faults of the send campaign, by the rows of the fault matrix that they play (S1 to S28)."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.exc import OperationalError

from chain.errors import NodeRejected
from wallet.testing.meddler import SUBMIT
from wallet.testing.node_faults import (
    EVERYTHING,
    READS,
    TICKS,
    Play,
    answering,
    geths_rule,
    losing,
    no_index,
    over_http,
    refusing,
    stale_head,
)
from wallet.testing.stage import Stage
from wallet.testing.world_faults import (
    cancel_outrun,
    clock_jumps,
    fee_spike,
    foreign_reorg,
    foreign_transaction,
    forgetful_pool,
    hot_wallet_short,
    old_copy,
    old_one_mined,
    pool_with_a_gap,
    recipient_reverts,
    recipients_nobody_means,
    reorg,
    silent_token,
    wish,
)


class Crash(BaseException):
    """The process dies here."""


async def dying(stage: Stage, dice: random.Random, die: Callable[[str], None]) -> None:
    """A few passes under `die`, then a new worker."""
    stage.points.act = die
    try:
        with contextlib.suppress(Crash):
            for _tick in range(TICKS):
                await stage.tick(dice.randint(0, 1))
    finally:
        stage.points.act = None
    stage.stand()


def crash_at(*points: str) -> Play:
    """The process dies at one of these steps, of one of the payments."""

    async def play(stage: Stage, dice: random.Random, ids: Sequence[str]) -> None:
        point, left = dice.choice(points), dice.randint(1, len(ids))

        def die(name: str) -> None:
            nonlocal left
            left -= name == point
            if left == 0:
                left = -1
                raise Crash(name)

        await dying(stage, dice, die)

    return play


def crashes(count: int) -> Play:
    """The process dies between any two steps, `count` times."""

    async def play(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
        for _time in range(count):
            left = dice.randint(1, 20)

            def die(name: str) -> None:
                nonlocal left
                left -= 1
                if left == 0:
                    raise Crash(name)

            await dying(stage, dice, die)

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

    await dying(stage, dice, fail)


async def three_workers(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
    """Three workers at the same address."""
    rivals = [stage.seam.new_runner() for _ in range(2)]
    await stage.side_by_side(dice, [runner.tick for runner in (stage.seam.runner, *rivals)])
    for _tick in range(TICKS):
        await stage.tick(dice.randint(0, 1))
        await stage.side_by_side(dice, [runner.tick for runner in (stage.seam.runner, *rivals)])


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of trouble. `rows` of the fault matrix; `review`: an operator has to end it."""

    rows: str
    play: Play
    review: bool = False


FAULTS: dict[str, Fault] = {
    "answer lost": Fault("S1", losing(after={SUBMIT})),
    "slow node": Fault("S1", over_http("hang", timeout_seconds=0.5)),
    "connections cut": Fault("S1", over_http("drop_reply", timeout_seconds=5.0)),
    "request lost": Fault("S2", losing(before={SUBMIT})),
    "node away": Fault("S2", losing(before=EVERYTHING)),
    "already known": Fault("S3", refusing("already known")),
    "nonce too low": Fault("S3", refusing("nonce too low")),
    "nothing known": Fault("S3", answering({"eth_getTransactionByHash"}, None)),
    "foreign transaction": Fault("S4", foreign_transaction, review=True),
    "no index": Fault("S4", no_index, review=True),
    "crash before signing": Fault(
        "S5", crash_at("intent.after_commit_allocated", "intent.before_sign")
    ),
    "crash before storing": Fault(
        "S6", crash_at("intent.after_sign", "intent.before_commit_signed")
    ),
    "crash before sending": Fault(
        "S7", crash_at("intent.after_commit_signed", "intent.before_send")
    ),
    "crash after sending": Fault("S8", crash_at("intent.after_send", "intent.before_commit_sent")),
    "one crash": Fault("S5 S6 S7 S8", crashes(1)),
    "three crashes": Fault("S5 S6 S7 S8", crashes(3)),
    "commit fails": Fault("S9", commit_fails),
    "three workers": Fault("S10 S11", three_workers),
    "pool with a gap": Fault("S12", pool_with_a_gap),
    "fee spike": Fault("S13", fee_spike),
    "fees sky-high": Fault("S13", answering({"eth_feeHistory"}, {"baseFeePerGas": [hex(10**15)]})),
    "fees for nothing": Fault("S13", answering({"eth_feeHistory"}, {"baseFeePerGas": ["0x0"]})),
    "geth's rule": Fault("S14", geths_rule),
    "underpriced": Fault("S14", refusing("replacement transaction underpriced")),
    "old one mined": Fault("S15", old_one_mined),
    "speed-up": Fault("S15", wish("speed_up")),
    "cancel": Fault("S16", wish("cancel")),
    "cancel outrun": Fault("S16", cancel_outrun),
    "forgetful pool": Fault("S17", forgetful_pool),
    "shallow reorg": Fault("S18", reorg(1, 3)),
    "deep reorg": Fault("S18", reorg(4, 6)),
    "reorg to a foreign one": Fault("S19", foreign_reorg, review=True),
    "recipient reverts": Fault("S20", recipient_reverts),
    "silent token": Fault("S21", silent_token, review=True),
    "wrong chain id": Fault("S22", answering({"eth_chainId"}, "0x1")),
    "stale nonce": Fault("S23", answering({"eth_getTransactionCount"}, "0x0")),
    "stale head": Fault("S23", stale_head),
    "no balance": Fault("S23", answering({"eth_getBalance"}, "0x0")),
    "no receipts": Fault("S23", answering({"eth_getTransactionReceipt"}, None)),
    "gas too low": Fault("S23", answering({"eth_estimateGas"}, hex(21_000))),
    "gas too high": Fault("S24", answering({"eth_estimateGas"}, hex(15_000_000))),
    "gas reverts": Fault(
        "S24", answering({"eth_estimateGas"}, NodeRejected(3, "execution reverted"))
    ),
    "hot wallet short": Fault("S25", hot_wallet_short),
    "insufficient funds": Fault("S25", refusing("insufficient funds for gas * price + value")),
    "clock jumps": Fault("S26", clock_jumps),
    "308": Fault("S27", over_http("redirect", timeout_seconds=5.0)),
    "huge answers": Fault("S27", over_http("huge", timeout_seconds=5.0)),
    "garbage for a hash": Fault("S27", answering({SUBMIT}, 7)),
    "another hash": Fault("S27", answering({SUBMIT}, "0x" + "ab" * 32)),
    "garbage receipts": Fault("S27", answering({"eth_getTransactionReceipt"}, {"status": "maybe"})),
    "garbage blocks": Fault("S27", answering({"eth_getBlockByNumber"}, [])),
    "garbage fees": Fault("S27", answering({"eth_feeHistory"}, {"oldestBlock": "0x1"})),
    "reads lost": Fault("S27", losing(before=READS)),
    "answers of reads lost": Fault("S27", losing(after=READS)),
    "words nobody knows": Fault("S27", refusing("internal server error, try again")),
    "recipients nobody means": Fault("S28", recipients_nobody_means),
    "old copy": Fault("L34", old_copy, review=True),
}


ROWS = [*(f"S{number}" for number in range(1, 29)), "L34"]
"""Of the matrix of sends, and of the ledger's the one that sends can get wrong: an old backup."""


def chosen(row: str, seed: int) -> str:
    """The fault that plays this row under this seed; each of a row has its turn, also among the
    seeds that end in 0."""
    names = [name for name, fault in FAULTS.items() if row in fault.rows.split()]
    return names[(seed + seed // 10) % len(names)]

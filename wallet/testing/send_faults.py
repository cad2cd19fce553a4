"""The faults of the send campaign, by the rows of the fault matrix that they play (S1 to S28)."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import OperationalError

from chain.errors import NodeRejected
from chain.testing.proxy import ReplyFault
from chain.transactions import decode_signed
from wallet import clock
from wallet.custody import InvalidAddress
from wallet.errors import WalletError
from wallet.testing.meddler import SUBMIT
from wallet.testing.seam import GWEI
from wallet.testing.stage import Stage

READS = {"eth_getTransactionReceipt", "eth_getTransactionByHash", "eth_getTransactionCount"}
TICKS = 3
REVERTS = "0x60006000fd"
RETURNS_TRUE_SILENTLY = "0x600160005260206000f3"


class Crash(BaseException):
    """The process dies here."""


Play = Callable[[Stage, random.Random, Sequence[str]], Awaitable[None]]


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


async def pool_with_a_gap(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
    """The lowest pooled nonce is lost; those above it wait for it in the queue."""
    await stage.seam.automine(False)
    sent = len(stage.meddler.sent)
    await stage.tick()
    originals = list(dict.fromkeys(stage.meddler.sent[sent:]))
    stage.meddler.lose_before = {SUBMIT}
    await stage.seam.node("anvil_dropAllTransactions")
    for raw in originals[1:]:
        await stage.seam.node(SUBMIT, raw)
    await stage.tick(dice.randint(1, 2))
    stage.meddler.calm()
    await stage.tick(dice.randint(0, 1))


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


def reorg(shallow: int, deep: int) -> Play:
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


def wish(name: str) -> Play:
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


async def foreign_transaction(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
    """Somebody else who holds the key spends the nonce that is ours."""
    await stage.seam.automine(False)
    await stage.tick()
    await stage.seam.node("anvil_dropAllTransactions")
    [hot] = await stage.seam.signer.hot_addresses()
    mined = await stage.seam.chain.nonce(hot)
    await stage.seam.node(SUBMIT, stage.foreign(mined))
    await stage.tick(1)
    await stage.tick(dice.randint(0, 1))


async def foreign_reorg(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
    """A reorganisation puts a stranger's transaction where ours was."""
    await stage.tick(1)
    [hot] = await stage.seam.signer.hot_addresses()
    before = await stage.seam.chain.nonce(hot)
    await stage.tick(dice.randint(1, 3))
    rows = await stage.seam.rows(
        "SELECT min(nonce) AS first, min(mined_block) AS block FROM chain_intents"
        " WHERE id > :first AND mined_block IS NOT NULL",
        first=stage.first_id,
    )
    head = (await stage.seam.chain.head()).number
    if rows[0].block is None:
        raise AssertionError(f"nothing was mined at nonce {before}")
    depth = head - int(rows[0].block) + 1
    await stage.seam.automine(False)
    await stage.seam.node("anvil_reorg", depth, [[stage.foreign(rows[0].first), 0]])
    await stage.tick(dice.randint(0, 1))


async def old_one_mined(stage: Stage, dice: random.Random, ids: Sequence[str]) -> None:
    """The node mines the first version of what was sped up since."""
    await stage.seam.automine(False)
    sent = len(stage.meddler.sent)
    await stage.tick()
    originals = list(dict.fromkeys(stage.meddler.sent[sent:]))
    with contextlib.suppress(WalletError):
        await stage.seam.speed_up(stage.person, dice.choice(ids))
    for _tick in range(TICKS):
        await stage.tick()
    await mine_these(stage, originals)


async def cancel_outrun(stage: Stage, dice: random.Random, ids: Sequence[str]) -> None:
    """A cancel is asked for, perhaps sent, and the payment is mined all the same."""
    await stage.seam.automine(False)
    sent = len(stage.meddler.sent)
    await stage.tick()
    originals = list(dict.fromkeys(stage.meddler.sent[sent:]))
    with contextlib.suppress(WalletError):
        await stage.seam.cancel(stage.person, dice.choice(ids))
    for _tick in range(dice.randint(0, TICKS)):
        await stage.tick()
    await mine_these(stage, originals)


async def mine_these(stage: Stage, raws: Sequence[str]) -> None:
    """The node has these bytes and no others, and mines them."""
    await stage.seam.node("anvil_dropAllTransactions")
    for raw in raws:
        await stage.seam.node(SUBMIT, raw)
    stage.meddler.lose_before = {SUBMIT}
    await stage.tick(1)


async def recipient_reverts(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
    """A recipient becomes a contract that refuses, while the payment is pooled."""
    await stage.seam.automine(False)
    await stage.tick()
    rows = await stage.seam.rows(
        "SELECT to_address FROM chain_intents WHERE id > :first ORDER BY id", first=stage.first_id
    )
    await stage.seam.node("anvil_setCode", dice.choice(rows).to_address, REVERTS)
    await stage.tick(1)


async def silent_token(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
    """The token answers true, moves nothing and logs nothing; later it is itself again."""
    token = stage.seam.network.tokens[0].contract
    await stage.seam.automine(False)
    await stage.tick()
    await stage.seam.node("anvil_dropAllTransactions")
    honest = await stage.seam.node("eth_getCode", token, "latest")
    await stage.seam.node("anvil_setCode", token, RETURNS_TRUE_SILENTLY)
    await stage.seam.dev.mine(1)
    with contextlib.suppress(WalletError):
        await stage.seam.runner.tick()
    await stage.seam.dev.mine(2)  # what is set now is as if it were so since the newest block
    await stage.seam.node("anvil_setCode", token, honest)
    await stage.tick(dice.randint(0, 1))


async def hot_wallet_short(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
    """The hot address has nothing to pay with, for a while."""
    [hot] = await stage.seam.signer.hot_addresses()
    before = await stage.seam.on_chain(hot, "ETH")
    await stage.seam.node("anvil_setBalance", hot, hex(dice.choice([0, 10**12])))
    for _tick in range(TICKS):
        await stage.tick(dice.randint(0, 1))
    sent = await stage.seam.rows(
        "SELECT FROM chain_intents WHERE id > :first AND nonce IS NOT NULL", first=stage.first_id
    )
    if sent:
        raise AssertionError("a nonce was used although the hot address is short")
    await stage.seam.node("anvil_setBalance", hot, hex(before))


async def clock_jumps(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
    """Business time leaps while payments are under way."""
    await stage.seam.automine(False)
    await stage.tick()
    async with stage.seam.db.transaction() as session:
        await clock.advance(session, seconds=dice.choice([7_200, 86_400]))
    for _tick in range(TICKS):
        await stage.tick(dice.randint(0, 1))
    await stage.stamp_rates()


async def recipients_nobody_means(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
    """Withdrawals to our own addresses, to a token, to nobody: each is refused."""
    seam = stage.seam
    own = await seam.address(stage.person)
    [hot] = await seam.signer.hot_addresses()
    wrong = "0x70997970c51812dc3A010C7d01b50e0d17dc79C8"  # a letter in the wrong case
    bad = [own, own.lower(), hot, seam.network.tokens[0].contract, "0x" + "0" * 40, wrong]
    for to in dice.sample(bad, len(bad)):
        try:
            await seam.withdraw(stage.person, "0.001", dice.choice(["ETH", "USDC"]), to)
        except InvalidAddress:
            continue
        raise AssertionError(f"a withdrawal to {to} was taken")
    await stage.tick(dice.randint(0, 1))


EVERYTHING = READS | {
    SUBMIT, "eth_chainId", "eth_getBlockByNumber", "eth_feeHistory", "eth_estimateGas",
    "eth_getBalance", "eth_call", "web3_clientVersion",
}  # fmt: skip


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
}
ROWS = [f"S{number}" for number in range(1, 29)]


def chosen(row: str, seed: int) -> str:
    """The fault that plays this row under this seed; each of a row has its turn."""
    names = [name for name, fault in FAULTS.items() if row in fault.rows.split()]
    return names[seed % len(names)]

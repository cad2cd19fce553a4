"""What befalls payments outside of us: pools, reorganisations, strangers, contracts, wishes."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Sequence

from chain.errors import NodeRejected
from wallet import clock
from wallet.custody import InvalidAddress
from wallet.errors import WalletError
from wallet.testing.meddler import SUBMIT
from wallet.testing.node_faults import TICKS, Play
from wallet.testing.seam import GWEI
from wallet.testing.stage import NEVER, Stage

REVERTS = "0x60006000fd"
RETURNS_TRUE_SILENTLY = "0x600160005260206000f3"


async def pool_with_a_gap(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
    """The lowest pooled nonce is lost; those above it wait for it in the queue."""
    await stage.seam.automine(False)
    sent = len(stage.meddler.sent)
    await stage.tick()
    originals = list(dict.fromkeys(stage.meddler.sent[sent:]))
    stage.meddler.lose_before = {SUBMIT}
    await stage.seam.node("anvil_dropAllTransactions")
    for raw in originals[1:]:
        with contextlib.suppress(NodeRejected):
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
    """The base fee jumps above what was offered; half the time workers outbid at once."""
    stage.seam.bump_seconds = dice.choice([0.0, NEVER])
    stage.stand()
    await stage.seam.automine(False)
    await stage.tick()
    await stage.seam.node("anvil_setNextBlockBaseFeePerGas", hex(dice.randint(5, 300) * GWEI))
    await stage.tick(1)
    await stage.tick()
    await stage.seam.node("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    stage.seam.bump_seconds = NEVER
    stage.stand()


async def foreign_transaction(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
    """Somebody else who holds a key spends the nonce that is ours."""
    await stage.seam.automine(False)
    await stage.tick()
    await stage.seam.node("anvil_dropAllTransactions")
    hot = await stage.lane(dice)
    mined = await stage.seam.chain.nonce(hot)
    with contextlib.suppress(NodeRejected):  # a deposit address may hold too little for it
        await stage.seam.node(SUBMIT, stage.foreign(hot, mined))
    await stage.tick(1)
    await stage.tick(dice.randint(0, 1))


async def foreign_reorg(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
    """A reorganisation puts a stranger's transaction where ours was."""
    await stage.seam.automine(False)  # else every payment has a block of its own: too deep
    await stage.tick()
    await stage.tick(1)
    await stage.tick(dice.randint(1, 3))
    hot = await stage.lane(dice, mined=True)
    rows = await stage.seam.rows(
        "SELECT min(nonce) AS first, min(mined_block) AS block FROM chain_intents"
        " WHERE id > :first AND state = 'mined' AND from_address = :hot",
        first=stage.first_id,
        hot=hot,
    )
    head = (await stage.seam.chain.head()).number
    if rows[0].block is None:
        raise AssertionError(f"nothing of {hot} was mined")
    depth = head - int(rows[0].block) + 1
    await stage.seam.node("anvil_reorg", depth, [[stage.foreign(hot, rows[0].first), 0]])
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
        with contextlib.suppress(NodeRejected):  # mined before it was sent once more
            await stage.seam.node(SUBMIT, raw)
    stage.meddler.lose_before = {SUBMIT}
    await stage.tick(1)


async def recipient_reverts(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
    """A recipient becomes a contract that refuses, while the payment is pooled."""
    await stage.seam.automine(False)
    await stage.tick()
    rows = await stage.seam.rows(
        "SELECT to_address FROM chain_intents WHERE id > :first AND purpose = 'withdrawal'"
        " ORDER BY id",
        first=stage.first_id,
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
    """The hot addresses have nothing to pay with, for a while."""
    hots, left = await stage.seam.signer.hot_addresses(), dice.choice([0, 10**12])
    before, given = [await stage.seam.on_chain(hot, "ETH") for hot in hots], await _given(stage)
    for hot in hots:
        await stage.seam.node("anvil_setBalance", hot, hex(left))
    for _tick in range(TICKS):
        await stage.tick(dice.randint(0, 1))
    if stage.own is None and await _given(stage) != given:  # else something may have come
        raise AssertionError("a nonce was used although the hot address is short")
    for hot, held in zip(hots, before, strict=True):
        now = await stage.seam.on_chain(hot, "ETH")
        await stage.seam.node("anvil_setBalance", hot, hex(held + now - left))


async def _given(stage: Stage) -> int:
    """How many nonces hot addresses have given in this schedule."""
    [row] = await stage.seam.rows(
        "SELECT count(*) AS n FROM chain_intents i JOIN chain_signers s"
        " ON s.network = i.network AND s.address = i.from_address AND s.role = 'hot'"
        " WHERE i.id > :first AND i.nonce IS NOT NULL",
        first=stage.first_id,
    )
    return int(row.n)


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
    hot = dice.choice(await seam.signer.hot_addresses())
    wrong = "0x70997970c51812dc3A010C7d01b50e0d17dc79C8"  # a letter in the wrong case
    bad = [own, own.lower(), hot, seam.network.tokens[0].contract, "0x" + "0" * 40, wrong]
    for to in dice.sample(bad, len(bad)):
        try:
            await seam.withdraw(stage.person, "0.001", dice.choice(["ETH", "USDC"]), to)
        except InvalidAddress:
            continue
        raise AssertionError(f"a withdrawal to {to} was taken")
    await stage.tick(dice.randint(0, 1))


async def old_copy(stage: Stage, dice: random.Random, _: Sequence[str]) -> None:
    """The database is put back to a copy of some passes ago; chain and signer have gone on."""
    await stage.seam.automine(False)
    for _tick in range(dice.randint(0, 2)):
        await stage.tick(dice.randint(0, 1))
    await stage.keep_copy()
    for _tick in range(dice.randint(1, TICKS)):
        await stage.tick(dice.randint(0, 1))
    await stage.put_back()
    for _tick in range(TICKS):
        await stage.tick(dice.randint(0, 1))


def wish(name: str) -> Play:
    """Its owner cancels or speeds up while it is on its way, and blocks come in between."""

    async def play(stage: Stage, dice: random.Random, ids: Sequence[str]) -> None:
        await stage.seam.automine(False)
        await stage.tick()
        for _time in range(2):
            act = stage.seam.cancel if name == "cancel" else stage.seam.speed_up
            with contextlib.suppress(WalletError):
                await act(stage.person, dice.choice(ids))
            for _tick in range(dice.randint(0, TICKS)):  # until it is made, signed and sent
                await stage.tick()
            await stage.tick(dice.randint(0, 1))

    return play

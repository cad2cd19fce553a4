"""Answers that are too much for one exchange, reads that crowd, and words of another length."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import orjson
import pytest

from chain.address import to_checksum
from chain.balances import GAS, PAIRS_AT_ONCE, balance_changes
from chain.blocks import BlockRef
from chain.errors import NodeGarbage, NodeTimeout
from chain.observe import TRANSFER_TOPIC, Watched, bloom_mask
from chain.ranges import logs_that_matter
from chain.registry import Network, Token
from chain.rpc import READS_AT_ONCE, SUBMISSION, Answer, Call, JsonRpc, Rpc
from chain.told import LogTold
from chain.window import Window

TOKEN = "0x" + "ab" * 20
PEOPLE = ["0x" + f"{n:040x}" for n in range(1, 31)]


def network() -> Network:
    return Network(
        name="bench", chain_id=31337, rpc_urls=("http://node.invalid",), native_asset="ETH",
        block_time_ms=1000, confirmations=1, finality="depth", logs_window=100, min_tip_wei=1,
        max_fee_wei=10**12, bump_percent=13, tokens=(Token("USDC", to_checksum(TOKEN), 6),),
    )  # fmt: skip


class Wordy:
    """Answers at most `most` calls at once; what each address holds grows by its own number."""

    def __init__(self, most: int, error: type[Exception]) -> None:
        self.most, self.error = most, error
        self.gas: set[object] = set()
        self.refused = 0

    async def batch_answers(self, calls: Sequence[Call]) -> list[Answer]:
        if len(calls) > self.most:
            self.refused += 1
            raise self.error("too much")
        return [self._answer(*call) for call in calls]

    def _answer(self, method: str, params: Sequence[Any]) -> Answer:
        if method == "eth_getBalance":
            return "0x0"
        self.gas.add(params[0]["gas"])
        who = int(params[0]["data"][-40:], 16)
        return f"0x{who * int(params[1], 16):064x}"


WANTED = [(7, ("USDC", person)) for person in PEOPLE]


@pytest.mark.parametrize("most", [4, 12, 100])
async def test_balances_that_are_too_much_together_are_asked_in_halves(most: int) -> None:
    node, window = Wordy(most, NodeGarbage), Window(PAIRS_AT_ONCE)
    changes = await balance_changes(cast(Rpc, node), network(), WANTED, window)
    assert changes == list(range(1, 31)) and window.whole
    assert node.gas == {GAS} and (node.refused > 0) is (most < 100)


async def test_one_that_is_too_much_alone_is_the_nodes_failure() -> None:
    with pytest.raises(NodeGarbage):
        await balance_changes(
            cast(Rpc, Wordy(3, NodeGarbage)), network(), WANTED[:1], Window(PAIRS_AT_ONCE)
        )


async def test_silence_is_waited_for_once_and_less_is_asked_for_the_next_time() -> None:
    node, window = Wordy(12, NodeTimeout), Window(PAIRS_AT_ONCE)
    with pytest.raises(NodeTimeout):
        await balance_changes(cast(Rpc, node), network(), WANTED[:25], window)
    assert (node.refused, window.size) == (1, 12)
    for size in (6, 3):  # several at once, which are one silence
        with pytest.raises(NodeTimeout):
            await balance_changes(cast(Rpc, node), network(), WANTED[:25], window)
        assert window.size == size
    found = await balance_changes(cast(Rpc, node), network(), WANTED[:25], window)
    assert (found, window.size) == (list(range(1, 26)), 4)


class Slow(JsonRpc):
    """Answers nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__("http://node.invalid")
        self.under_way: list[str] = []
        self.go = asyncio.Event()

    async def _exchange(self, body: bytes, most: int) -> bytes:
        asked = orjson.loads(body)
        self.under_way.append(asked["method"])
        if asked["method"] != SUBMISSION:
            await self.go.wait()
        return orjson.dumps({"id": asked["id"], "result": "0x1"})


async def test_reads_wait_for_their_turn_and_a_submission_for_no_read() -> None:
    node = Slow()
    reads = [asyncio.create_task(node.call("eth_blockNumber")) for _ in range(READS_AT_ONCE + 5)]
    await asyncio.sleep(0)
    assert await node.call(SUBMISSION, ("0x",)) == "0x1"
    assert node.under_way == ["eth_blockNumber"] * READS_AT_ONCE + [SUBMISSION]
    node.go.set()
    assert await asyncio.gather(*reads) == ["0x1"] * (READS_AT_ONCE + 5)


@pytest.mark.parametrize(
    ("address", "sender"), [(TOKEN, TOKEN), ("0x" + "00" * 12 + TOKEN[2:], None)]
)
def test_an_address_is_no_topic_and_a_topic_no_address(address: str, sender: str | None) -> None:
    """Both add up to a bloom; neither is what a node may say of a log."""
    payee = "0x" + "00" * 12 + PEOPLE[0][2:]
    topics = (TRANSFER_TOPIC, sender or payee, payee)
    bits = 0
    for word in {address, *topics}:
        bits |= bloom_mask(bytes.fromhex(word[2:]))
    ref = BlockRef(5, "0x" + "22" * 32, "0x" + "21" * 32, 1, 0)
    tx = "0x" + "33" * 32
    told = LogTold(address, topics, "0x" + "00" * 31 + "07", ref.hash, "0x5", tx, "0x0")
    with pytest.raises(NodeGarbage):
        logs_that_matter(
            ref, bits.to_bytes(256, "big"), {tx: 0}, [told],
            watched=Watched([PEOPLE[0]]), tokens={address},
        )  # fmt: skip

"""Blocks far behind the head, many at a time: full blocks in batches, all their logs by one query.

A query over a range is cheaper than all receipts, and a node may leave logs out of it. So all logs
are asked for, not ours alone, and each block's must be numbered without a gap, in the order of its
transactions, and add up to exactly the bloom of its header (as `observe.verified_logs` demands of
receipts). A block for which they do not is left to its receipts, which have the last word.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, reduce
from itertools import groupby
from operator import attrgetter, or_

from chain import parse
from chain.answerable import blame
from chain.blocks import Block, BlockRef, Log
from chain.errors import ChainError, NodeGarbage
from chain.observe import (
    COINS_SWEPT_TOPIC,
    TRANSFER_TOPIC,
    TRANSFER_TOPICS,
    bloom_mask,
    coins_swept_in,
    is_watched,
    may_hold_coin_sweeps,
    may_hold_transfers,
)
from chain.registry import Token
from chain.rpc import Rpc
from chain.told import GET_LOGS, LogTold, as_told

log = logging.getLogger(__name__)
_ADDRESS_CHARS, _TOPIC_CHARS = 42, 66
_ADDRESS_AT = 26  # of a topic that holds one: 0x and twelve zero bytes
NUMBERS = [hex(place) for place in range(512)]
"""What the logs of a block of ordinary size must be numbered."""
LOG_BYTES, TX_BYTES = 1_000, 500
"""What one takes in memory, some. A text that is longer than it may be is bounded by the answer."""


@dataclass(frozen=True, slots=True)
class Range:
    """Neighbouring blocks in order, and all their logs by block hash, as told. `told` is None
    where the node would not say, and leaves out blocks in which no listed token moved and no
    coins were swept."""

    blocks: Sequence[Block]
    told: Mapping[str, list[LogTold]] | None = field(repr=False)

    @property
    def weight_bytes(self) -> int:
        """What it takes in memory, about."""
        logs = 0 if self.told is None else sum(map(len, self.told.values()))
        return logs * LOG_BYTES + sum(len(one.transactions) for one in self.blocks) * TX_BYTES


async def with_logs(rpc: Rpc, blocks: Sequence[Block], tokens: Sequence[Token]) -> Range:
    """These blocks with what the node says of their logs.

    Raises the transport's errors, NodeRejected (too much at once for this node) and NodeGarbage,
    but not for a single block: its receipts are left.
    """
    some = [
        block for block in blocks
        if may_hold_coin_sweeps(block) or any(may_hold_transfers(block, item) for item in tokens)
    ]  # fmt: skip
    if not some:
        return Range(blocks, {})
    try:
        told = await logs_told(rpc, some[0].number, some[-1].number)
    except ChainError:
        if len(blocks) > 1:
            raise
        return Range(blocks, None)
    if told is not None and not told.keys() <= {block.hash for block in blocks}:
        blame(NodeGarbage("logs of another fork, or of blocks that were not asked for"))
        told = None
    if told is None:
        return Range(blocks, None)
    return Range(blocks, {block.hash: told.get(block.hash, []) for block in some})


async def logs_told(rpc: Rpc, first: int, last: int) -> dict[str, list[LogTold]] | None:
    """All logs of these heights by block hash; None where something among them is no log.

    Raises what the node raises, and NodeGarbage for what is no list.
    """
    answer = await rpc.call(GET_LOGS, ({"fromBlock": hex(first), "toBlock": hex(last)},))
    listed = parse.items(answer, "eth_getLogs")
    try:
        logs = as_told(listed, list[LogTold], "eth_getLogs")
    except NodeGarbage as error:
        log.warning("blocks %d to %d: %s; read from their receipts", first, last, error)
        blame(error)
        return None
    told: dict[str, list[LogTold]] = {}
    for block_hash, some in groupby(logs, attrgetter("block_hash")):
        told.setdefault(block_hash, []).extend(some)
    return told


def logs_in(
    piece: Range, block: Block, *, watched: Container[str], tokens: Sequence[Token],
    coin_sweeps: bool = False,
) -> list[Log] | None:  # fmt: skip
    """Logs of listed tokens in a block of the range that pays a watched address in one of them,
    with `coin_sweeps` those of swept coins too; none where there are none such; None where the
    range cannot say and the receipts must."""
    if piece.told is None:
        return None
    told = piece.told.get(block.hash)
    if told is None:
        return []
    try:
        return logs_that_matter(
            block.ref,
            block.logs_bloom,
            {tx.hash: tx.index for tx in block.transactions},
            told,
            watched=watched,
            tokens={token.contract.lower() for token in tokens},
            coin_sweeps=coin_sweeps,
        )
    except NodeGarbage as error:
        log.warning("logs of block %d: %s; read from its receipts", block.number, error)
        return None


def logs_that_matter(
    ref: BlockRef,
    bloom: bytes,
    places: Mapping[str, int],
    told: Sequence[LogTold],
    *,
    watched: Container[str],
    tokens: Container[str],
    coin_sweeps: bool = False,
) -> list[Log]:
    """All logs of listed contracts in a block that pays a watched address in a token; else none.
    With `coin_sweeps` a block where coins were swept counts too, and gives those logs as well.

    `places`: the block's transaction hashes and their order; `tokens` are lower-case.
    Raises NodeGarbage unless what was told is all that the header's bloom stands for.
    """
    # By sets and lists of the whole block: a step for each log would be most of the time.
    count = len(told)
    numbers = NUMBERS[:count] if count <= len(NUMBERS) else [hex(place) for place in range(count)]
    topics = [item.topics for item in told]
    try:
        order = [places[item.transaction_hash] for item in told]
        if [item.log_index for item in told] != numbers or order != sorted(order):
            raise NodeGarbage("the logs of a block are not numbered without a gap")
        words = {item.address for item in told}.union(*topics)
        bits = reduce(or_, map(_mask, words), 0)
    except (KeyError, ValueError):
        raise NodeGarbage("eth_getLogs answered something that is no log of its block") from None
    if bits != int.from_bytes(bloom, "big"):
        raise NodeGarbage("the logs of a block do not add up to its bloom")
    coin_sweeps = coin_sweeps and COINS_SWEPT_TOPIC in words
    third = {many[2] for many in topics if len(many) == TRANSFER_TOPICS}
    paid = any(is_watched("0x" + topic[_ADDRESS_AT:], watched) for topic in third)
    if not paid and not coin_sweeps:
        return []
    logs = [
        _log(ref, item) for item in told
        if item.address.lower() in tokens or (coin_sweeps and COINS_SWEPT_TOPIC in item.topics)
    ]  # fmt: skip
    matter = any(_pays(one, watched) or (coin_sweeps and coins_swept_in(one)) for one in logs)
    return logs if matter else []


def _log(ref: BlockRef, told: LogTold) -> Log:
    """A log whose place and hexadecimal words have been checked already; the rest of it."""
    if told.block_number != hex(ref.number) or told.removed:
        raise NodeGarbage("eth_getLogs answered a log of another place")
    if len(told.address) != _ADDRESS_CHARS or {*map(len, told.topics)} - {_TOPIC_CHARS}:
        raise NodeGarbage("eth_getLogs answered an address for a topic")
    return Log(
        told.address.lower(),
        told.topics,
        parse.data(told.data, "log.data"),
        ref.hash,
        ref.number,
        told.transaction_hash,
        int(told.log_index, 16),
    )


def _pays(one: Log, watched: Container[str]) -> bool:
    topics = one.topics
    return (
        len(topics) == TRANSFER_TOPICS
        and topics[0] == TRANSFER_TOPIC
        and is_watched("0x" + topics[2][_ADDRESS_AT:], watched)
    )


@lru_cache(maxsize=4_096)
def _mask(word: str) -> int:
    """An address's or lower-case topic's bits of a bloom. Raises ValueError for what is neither."""
    raw = bytes.fromhex(word[2:])
    plain = word == "0x" + raw.hex() if len(raw) == 32 else len(word) == 42 and len(raw) == 20
    if not plain or word[:2] != "0x":
        raise ValueError
    return bloom_mask(raw)

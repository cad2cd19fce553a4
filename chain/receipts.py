"""Receipts, by the shortest way that a node knows; each checked to be what was asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from chain import parse
from chain.blocks import Block, Receipt, parse_receipt
from chain.errors import AnswerTooLarge, ChainError, NodeGarbage, NodeRejected, NodeTimeout
from chain.lanes import in_lanes, split
from chain.rpc import MAX_BATCH, Call, Rpc
from chain.told import BLOCK_RECEIPTS, GET_RECEIPT

TRANSACTIONS_AHEAD = 1_000
"""In the blocks whose receipts are asked for in one request: some 5 MB on a busy chain."""
Ahead = Mapping[str, list[Receipt]]
"""Block hash to all its receipts."""
NOTHING_AHEAD: Ahead = MappingProxyType({})
_METHOD_MISSING = (-32601, -32700)  # Anvil and geth; Ganache uses the second.


async def receipts_of(rpc: Rpc, tx_hashes: Sequence[str]) -> list[Receipt | None]:
    """In the order asked; None for a transaction that is not mined. Raises NodeGarbage.

    What is too much for one answer is asked in halves: anybody whom we pay may have his contract
    log without end, and hides no other payment's receipt by it.
    """

    async def some(part: Sequence[str]) -> list[Receipt | None]:
        try:
            answers = await rpc.batch([(GET_RECEIPT, (item,)) for item in part])
        except (AnswerTooLarge, NodeRejected) as error:
            if len(part) == 1 or not _too_large(error):
                raise
            half = len(part) // 2
            return [*await some(part[:half]), *await some(part[half:])]
        found = [None if answer is None else parse_receipt(answer) for answer in answers]
        for wanted, receipt in zip(part, found, strict=True):
            if receipt is not None and receipt.tx_hash != wanted.lower():
                raise NodeGarbage("the node answered another transaction's receipt")
        return found

    return list(itertools.chain.from_iterable(await in_lanes(split(tx_hashes, MAX_BATCH), some)))


def _too_large(error: ChainError) -> bool:
    """Whether it is too much for one answer, as we say it or as nodes do."""
    return isinstance(error, AnswerTooLarge) or "too large" in str(error).lower()


class BlockReceipts:
    """All receipts of blocks. `by_block`: whether the node knows `eth_getBlockReceipts`, once a
    first block has shown it."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self.by_block: bool | None = None
        self._heavy = ""

    async def of(self, block: Block) -> list[Receipt]:
        """In order. One call where the node has it, and they are not too much for one answer or for
        the time it may take; else a batch by transaction.

        Raises NodeGarbage when they are not those of the block's transactions.
        """
        receipts = await self._in_one_call(block)
        if receipts is None:
            found = await receipts_of(self._rpc, [tx.hash for tx in block.transactions])
            receipts = [receipt for receipt in found if receipt is not None]
        return _checked(block, receipts)

    async def ahead(self, blocks: Sequence[Block]) -> Ahead:
        """Those of several blocks in one request. Raises nothing of the node's: a block that it
        would not or could not answer is left out."""
        found: dict[str, list[Receipt]] = {}
        for some in _groups(blocks) if self.by_block else ():
            calls: list[Call] = [(BLOCK_RECEIPTS, (block.hash,)) for block in some]
            try:
                answers = await self._rpc.batch_answers(calls)
                for block, answer in zip(some, answers, strict=True):
                    if isinstance(answer, list):
                        found[block.hash] = _checked(block, _parsed(answer))
            except ChainError:
                break  # who asks for one of them alone is told why
        return found

    async def _in_one_call(self, block: Block) -> list[Receipt] | None:
        if self.by_block is False or self._heavy == block.hash:
            return None
        try:
            answer = await self._rpc.call(BLOCK_RECEIPTS, (block.hash,))
        except NodeTimeout:
            self._heavy = block.hash  # the next time in parts
            raise
        except (AnswerTooLarge, NodeRejected) as error:
            if isinstance(error, NodeRejected) and error.rpc_code in _METHOD_MISSING:
                self.by_block = False
            elif not _too_large(error):
                raise
            return None
        self.by_block = True
        if answer is None:
            raise NodeGarbage("the node no longer has the block it answered before")
        return _parsed(answer)


def _groups(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Two or more blocks each, with at most TRANSACTIONS_AHEAD between them."""
    group: list[Block] = []
    count = 0
    for block in blocks:
        if count + len(block.transactions) > TRANSACTIONS_AHEAD:
            if len(group) > 1:
                yield group
            group, count = [], 0
        group.append(block)
        count += len(block.transactions)
    if len(group) > 1 and count <= TRANSACTIONS_AHEAD:
        yield group


def _parsed(answer: object) -> list[Receipt]:
    return [parse_receipt(item) for item in parse.items(answer, BLOCK_RECEIPTS)]


def _checked(block: Block, receipts: list[Receipt]) -> list[Receipt]:
    wanted = [(tx.hash, block.hash, tx.index) for tx in block.transactions]
    given = [(item.tx_hash, item.block_hash, item.tx_index) for item in receipts]
    if wanted != given:
        raise NodeGarbage("the receipts are not those of the block's transactions")
    return receipts

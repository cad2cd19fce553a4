"""What no single one of several nodes says: what is final, what a payment did, what it costs.

Nor how many nonces are used, and what lies somewhere. Of two nodes neither can be believed against
the other: what they differ about waits, and what stands is for a person (`chain.differences`). Of
three one alone stops nothing of it, but for what is final: that is so for all, or not at all.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from chain import parse
from chain.blocks import Receipt, parse_receipt, parse_ref
from chain.differences import Differences
from chain.errors import AnswerTooLarge, ChainError, NodeGarbage, NodeRejected
from chain.fees import FEE_HISTORY, FeeQuote, least_cap, quote
from chain.nodes import FAILURES, MAX_LAG_BLOCKS, STILL_SECONDS, Node, soon
from chain.registry import Network
from chain.rpc import Rpc
from chain.told import BLOCK_RECEIPTS, GET_BLOCK, GET_RECEIPT

FINAL_APART_SECONDS = 900.0
"""Further than so many blocks' time no two nodes that are well are about what is final: by tags it
goes on by some minutes at once."""
COUNT = "eth_getTransactionCount"
NO_CEILING = 1 << 256
DEARER = 2
"""More than so many times what others ask is another price, not another block's."""
T = TypeVar("T")
log = logging.getLogger(__name__)


class Votes(ABC):
    """Several nodes, one of which serves."""

    _network: Network
    _nodes: list[Node]
    _current: Node
    differences: Differences

    @abstractmethod
    def failed(self, node: Node, error: ChainError) -> None:
        """The node pauses."""

    @abstractmethod
    async def _has_a_say(self, node: Node) -> bool: ...

    @abstractmethod
    def _speaks(self, node: Node) -> bool: ...

    @abstractmethod
    def _behind(self, node: Node) -> bool: ...

    async def shared(self, number: int) -> tuple[int, frozenset[str]]:
        """The highest block at or below `number` that is final for every other node that is well,
        and what its hash is there: of what is final no single node has the say, however far ahead
        it claims to be. Nodes that fail, or stand still far behind, are not waited for."""
        others = [node for node in self._nodes if node is not self._current]
        told = [
            (node, await self._final_of(node)) for node in others if await self._has_a_say(node)
        ]
        able = [(node, final) for node, final in told if final is not None]
        height = min([number, *(final for _, final in able)])
        if height < 0:
            return height, frozenset()
        answers = [await self._block_of(node, height) for node, _ in able]
        return height, frozenset(answer for answer in answers if answer is not None)

    async def confirmed(self, receipt: Receipt) -> bool:
        """Whether the nodes that are well show this very receipt: what a transaction did no single
        node says, nor that it did not, where two others say so."""
        against, asked = {}, 0
        for node in self._nodes:
            if node is self._current or not await self._has_a_say(node):
                continue
            try:
                shown = await self._shows(node, receipt)
            except (NodeRejected, AnswerTooLarge):
                shown = False
            except FAILURES as error:
                self.failed(node, error)
                continue
            asked += 1
            if not shown:
                against[node.name] = f"another one of {receipt.tx_hash}, or none"
        ours = f"that {receipt.tx_hash} is as its own receipt has it"
        # Who keeps no receipts serves no better: another node does not serve for that.
        return self._holds("receipts", ours, against, asked, serves_on=True)

    async def each(self, read: Callable[[Rpc], Awaitable[T]]) -> list[tuple[str, T]]:
        """What every other node that is well shows, by its name, however long it takes; who refuses
        says nothing."""
        told = []
        for node in self._nodes:
            if node is self._current or not await self._has_a_say(node):
                continue
            try:
                told.append((node.name, await read(node.rpc)))
            except (NodeRejected, AnswerTooLarge):
                continue
            except FAILURES as error:
                self.failed(node, error)
        return told

    def arrived(self, tx_hash: str, ours: bool, told: Sequence[tuple[str, bool]]) -> bool:
        """Whether it is so for the others: that this transaction brought something, or did not."""
        words = {True: f"that {tx_hash} brought it", False: f"that {tx_hash} brought no such thing"}
        against = {name: words[shown] for name, shown in told if shown is not ours}
        return self._holds("arrivals", words[ours], against, len(told))

    async def _shows(self, node: Node, receipt: Receipt) -> bool:
        """One that keeps no index is asked for those of the block."""
        answer = await soon(node.rpc.call(GET_RECEIPT, (receipt.tx_hash,)))
        if answer is None:
            block = await node.rpc.call(BLOCK_RECEIPTS, (receipt.block_hash,))
            many = parse.items(block, BLOCK_RECEIPTS) if block is not None else []
            answer = many[receipt.tx_index] if receipt.tx_index < len(many) else None
        return answer is not None and parse_receipt(answer) == receipt

    async def passed(self, address: str, nonce: int) -> bool:
        """Whether that nonce, used for the serving node, is so for the others that are well."""

        def read(answer: object) -> int:
            return parse.quantity(answer, COUNT)

        told = await self.others(COUNT, (address, "latest"), read)
        against = {name: f"{count} are used" for name, count in told if count <= nonce}
        return self._holds(f"nonces/{address}", f"nonce {nonce} is used", against, len(told))

    def least(self, about: str, minor: int, told: Sequence[tuple[str, int]]) -> bool:
        """Whether no more than that is there, as the serving node says; `told` by the others."""
        more = {name: str(much) for name, much in told if much > minor}
        return self._holds(about, str(minor), more, len(told))

    def same(self, about: str, ours: int, told: Sequence[tuple[str, int | None]]) -> bool:
        """Whether it is so for the others that answer a number."""
        said = [(name, number) for name, number in told if number is not None]
        against = {name: str(number) for name, number in said if number != ours}
        return self._holds(about, str(ours), against, len(said))

    def _holds(
        self, about: str, ours: str, against: Mapping[str, str], asked: int, *,
        serves_on: bool = False,
    ) -> bool:  # fmt: skip
        """Whether what the serving node says stands, where these of `asked` others deny it. Half of
        all are enough that it does not, and a person is told; by more it is outvoted: another one
        serves from now on."""
        if not against:
            return True
        said = {self._current.name: ours, **against}
        if 2 * len(against) < 1 + asked:
            self.differences.log(about, said)
            return True
        self.differences.note(about, said)
        if 2 * len(against) > 1 + asked and not serves_on:
            log.error("%s: %s is outvoted", self._network.name, self._current.name)
            self.failed(self._current, NodeGarbage("other nodes say otherwise"))
        return False

    async def others(
        self, method: str, params: Sequence[object], read: Callable[[object], T]
    ) -> list[tuple[str, T]]:
        """What every other node that is well answers, by its name; who rejects it says nothing."""
        told = []
        for node in self._nodes:
            if node is self._current or not await self._has_a_say(node):
                continue
            try:
                told.append((node.name, read(await soon(node.rpc.call(method, params)))))
            except NodeRejected:
                continue
            except FAILURES as error:
                self.failed(node, error)
        return told

    def base_fee(self) -> int:
        """What half of all nodes reach at least (two other ones' heads, or the only one's), by the
        last look. At less, nobody mines, and what bids so little jams its address; nor does all
        wait by one word of many, nor by the fees of a block long passed, where a node stands that
        catches up."""
        told = sorted((fee for _, fee in self._base_fees()), reverse=True)
        return told[len(told) // 2] if told else 0

    def _base_fees(self) -> list[tuple[str, int]]:
        return [
            (one.name, one.head.base_fee) for one in self._nodes
            if one is not self._current and one.head and self._speaks(one)
            and not (self._behind(one) and one.head.timestamp < time.time() - STILL_SECONDS)
        ]  # fmt: skip

    async def look_closer(self, told: FeeQuote, final: int) -> None:
        """What is asked now and then only: whether other nodes ask far more or far less for gas
        than the serving one tells, and whether they are far from it in what is final."""

        def read(answer: object) -> int:
            return quote(answer, min_tip_wei=self._network.min_tip_wei, max_fee_wei=NO_CEILING).cap

        caps = await self.others(*FEE_HISTORY, read)  # and their heads anew, for what stands there
        fees = self._base_fees()
        more = {
            name: f"a base fee of {fee} wei" for name, fee in fees
            if told.cap < least_cap(fee, told.tip)
        }  # fmt: skip
        less = {name: f"{cap} wei for gas" for name, cap in caps if told.cap > DEARER * cap}
        ours = f"{told.cap} wei for gas at a base fee of {told.base_fee}"
        if self._holds("fees", ours, more, len(fees)):
            self._holds("fees", ours, less, len(caps))
        finals = [
            (one.name, there) for one in self._nodes
            if one is not self._current and await self._has_a_say(one)
            and (there := await self._final_of(one)) is not None
        ]  # fmt: skip
        apart = FINAL_APART_SECONDS * 1000 / self._network.block_time_ms + MAX_LAG_BLOCKS
        behind = {one: f"block {there}" for one, there in finals if there + apart < final}
        if behind:  # that nothing is final by fewer is not voted upon
            self.differences.note("finality", {self._current.name: f"block {final}", **behind})
        ahead = {one: f"block {there}" for one, there in finals if there > final + apart}
        self._holds("finality", f"block {final}", ahead, len(finals))

    async def _final_of(self, node: Node) -> int | None:
        """None: it failed. By depth alone where it does not know what finality is: such a node
        cannot serve, and has not been waited for."""
        if node.head is None:
            return None
        head, tagged = node.head.number, node.head.number
        if self._network.finality != "depth":
            try:
                answer = await soon(node.rpc.call(GET_BLOCK, ("finalized", False)))
                tagged = -1 if answer is None else parse_ref(answer).number
            except NodeRejected:
                tagged = max(head - self._network.confirmations + 1, -1)
            except FAILURES as error:
                self.failed(node, error)
                return None
        return self._network.final(head, tagged)

    async def _block_of(self, node: Node, number: int) -> str | None:
        """None: it failed."""
        try:
            answer = await soon(node.rpc.call(GET_BLOCK, (hex(number), False)))
            return "none" if answer is None else parse_ref(answer).hash
        except (*FAILURES, NodeRejected) as error:
            self.failed(node, error)
            return None

"""Several nodes of one network behind one transport: one view at a time, another when it fails.

All calls go to the current node. When it fails, the call fails too and the next one goes to another
node. Whoever reads in several steps starts anew; what is under way beside them may go on at the
other node, so what belongs together is held together by hashes, not by who said it. What shows to
be garbage only when it is read is a failure, too (`chain.answerable`).
`retry_reads` is for callers whose every read stands alone. A submission is never repeated here. A
node is asked for chain id and block 1 before it serves, and again after every failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from chain import answerable, parse
from chain.blocks import parse_ref
from chain.differences import Differences
from chain.errors import (
    AnswerTooLarge,
    ChainError,
    NodeRejected,
    NodeUnavailable,
)
from chain.nodes import (
    FAILURES,
    MAX_LAG_BLOCKS,
    STILL_SECONDS,
    Disagreement,
    Node,
    NodeHealth,
    Turn,
    soon,
)
from chain.registry import Network
from chain.rpc import SUBMISSION, Answer, Call, Rpc
from chain.told import BLOCK_RECEIPTS, GET_BLOCK, GET_LOGS, GET_RECEIPT
from chain.votes import Votes

BACKOFF_FIRST_SECONDS = 1.0
BACKOFF_LAST_SECONDS = 30.0
STANDBY_PROBE_SECONDS = 5.0
EXTRAS = "debug_"
"""Methods beyond the common ground. Where they fail the node is not away: who asks goes without."""
IN_PARTS: frozenset[str] = frozenset({BLOCK_RECEIPTS, GET_LOGS})
"""What is asked again in parts where it is too much for one answer, as batches of receipts are: how
long it is strangers decide, and no node fails by it."""
T = TypeVar("T")
log = logging.getLogger(__name__)


class FailoverRpc(Votes):
    """The `Rpc` of a network with several nodes, in the order of preference of its file."""

    def __init__(
        self,
        network: Network,
        rpcs: Sequence[Rpc],
        *,
        retry_reads: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._network = network
        self._nodes = [Node(position, rpc) for position, rpc in enumerate(rpcs)]
        self._current = self._nodes[0]
        self._retry_reads = retry_reads
        self._clock = clock
        self._block1 = network.block1_hash
        self.differences = Differences(network.name, clock)

    # The transport

    async def call(self, method: str, params: Sequence[object] = ()) -> object:
        """One call at the current node. Raises what it raised."""
        return await self._use(
            lambda rpc: rpc.call(method, params),
            sends=method == SUBMISSION,
            extra=method.startswith(EXTRAS),
            in_parts=method in IN_PARTS,
        )

    async def batch(self, calls: Sequence[Call]) -> list[object]:
        """A batch at the current node."""
        return await self._use(
            lambda rpc: rpc.batch(calls), sends=_sends(calls), in_parts=_in_parts(calls)
        )

    async def batch_answers(self, calls: Sequence[Call]) -> list[Answer]:
        """A batch at the current node, rejections in place."""
        extra = all(method.startswith(EXTRAS) for method, _ in calls)
        return await self._use(
            lambda rpc: rpc.batch_answers(calls), sends=_sends(calls), extra=extra,
            in_parts=_in_parts(calls),
        )  # fmt: skip

    async def spread(self, raws: Sequence[bytes]) -> None:
        """Hand bytes to every other node that is well: the serving one may keep them to itself.
        What they answer proves nothing, nor does it that they do not; receipts do."""
        now, calls = self._clock(), [(SUBMISSION, ("0x" + raw.hex(),)) for raw in raws]

        async def hand(node: Node) -> None:
            with contextlib.suppress(*FAILURES, NodeRejected):
                await soon(node.rpc.batch_answers(calls))

        others = [one for one in self._nodes if one is not self._current and one.verified]
        await asyncio.gather(*(hand(one) for one in others if one.not_before <= now))

    async def aclose(self) -> None:
        """Close every node's connections."""
        for node in self._nodes:
            await node.rpc.aclose()

    async def _use(
        self, work: Callable[[Rpc], Awaitable[T]], *, sends: bool, extra: bool = False,
        in_parts: bool = False,
    ) -> T:  # fmt: skip
        tries = len(self._nodes) if self._retry_reads and not sends else 1
        for left in reversed(range(tries)):
            node = await self._serving()
            try:
                answer = await work(node.rpc)
            except FAILURES as error:
                if extra or (in_parts and isinstance(error, AnswerTooLarge)):
                    raise
                self.failed(node, error)
                if left == 0:
                    raise
            except NodeRejected:
                answerable.heard(Turn(self, node, node.turn))
                raise
            else:
                node.failures = 0
                if not extra:
                    answerable.heard(Turn(self, node, node.turn))
                return answer
        raise AssertionError("unreachable")

    async def _serving(self) -> Node:
        """The current node, verified; another one when it may not serve. Raises NodeUnavailable."""
        for node in self._by_preference():
            if not node.verified and not await self._verify(node, serves=True):
                continue
            if node is not self._current:
                log.warning("%s: switched to %s", self._network.name, node.name)
                self._current = node
            return node
        raise NodeUnavailable("no node of this network can be used")

    def _by_preference(self) -> list[Node]:
        """Who may serve now: the current one first, as long as it is well; then file order."""
        now = self._clock()
        waiting = [node for node in self._nodes if node.not_before > now]
        able = [node for node in self._nodes if node not in waiting]
        # All of them failed lately: better the one whose pause ends first than none at all.
        able = able or sorted(waiting, key=lambda node: node.not_before)[:1]
        return sorted(
            able, key=lambda one: (self._behind(one), one is not self._current, one.position)
        )

    def failed(self, node: Node, error: ChainError) -> None:
        """The node pauses and is verified anew before it serves again."""
        if not node.verified and node.not_before > self._clock():
            return  # it has failed; this was under way then, and is no further failure
        node.failures += 1
        node.turn += 1
        node.verified = False
        node.head = None
        node.problem = error.code
        pause = min(BACKOFF_FIRST_SECONDS * 2 ** (node.failures - 1), BACKOFF_LAST_SECONDS)
        node.not_before = self._clock() + pause
        log.warning("%s: %s failed: %s", self._network.name, node.name, error.code)

    # Which chain it is

    async def _verify(self, node: Node, *, serves: bool = False) -> bool:
        """Whether the node serves the chain of the file and of the other nodes; notes its head."""
        asked = node.rpc.batch(
            [
                ("eth_chainId", ()),
                (GET_BLOCK, ("0x1", False)),
                (GET_BLOCK, ("latest", False)),
            ]
        )
        try:
            chain_id, block1, latest = await (asked if serves else soon(asked))
            served = parse.quantity(chain_id, "eth_chainId")
            first = None if block1 is None else parse_ref(block1).hash
            head = None if latest is None else parse_ref(latest)
        except (*FAILURES, NodeRejected) as error:
            self.failed(node, error)
            return False
        if served != self._network.chain_id or (self._block1 is not None and first != self._block1):
            node.problem = "wrong_chain"
            node.verified, node.head = False, None
            node.not_before = self._clock() + BACKOFF_LAST_SECONDS
            log.error("%s: %s serves another chain", self._network.name, node.name)
            return False
        self._block1 = self._block1 or first
        node.verified, node.problem, node.not_before = True, "", 0.0
        if head is not None and node.newest != head.hash:
            node.newest, node.moved_at = head.hash, self._clock()
        node.head, node.probed_at = head, self._clock()
        return True

    def pin(self, block1: str) -> None:
        """Which chain it was before this process began: where the file pins none, and a node told
        another block 1 first, nodes are asked again."""
        if self._network.block1_hash is None and self._block1 != block1:
            for node in self._nodes if self._block1 is not None else ():
                node.verified, node.not_before, node.probed_at = False, 0.0, None
            self._block1 = block1

    # Who has a say

    async def _has_a_say(self, node: Node) -> bool:
        if node.not_before > self._clock() or not await self._verify(node):
            return False
        return self._speaks(node)

    def _speaks(self, node: Node) -> bool:
        return not (self._behind(node) and self._clock() - node.moved_at > STILL_SECONDS)

    def _behind(self, node: Node) -> bool:
        best = max((one.head.number for one in self._nodes if one.head and one.verified), default=0)
        return node.head is not None and node.head.number < best - MAX_LAG_BLOCKS

    # Watching all of them

    async def probe(self) -> list[NodeHealth]:
        """Look at the serving node now and at the others every few seconds; say how each stands.

        Raises Disagreement when two of them hold different final blocks.
        """
        now = self._clock()
        due = [
            node for node in self._nodes if node.not_before <= now and (
                node is self._current or node.probed_at is None
                or now - node.probed_at >= STANDBY_PROBE_SECONDS
            )
        ]  # fmt: skip
        # Which chain it is says the first of the file that answers, not whoever is fastest.
        while due and self._block1 is None:
            await self._verify(due[0], serves=due.pop(0) is self._current)
        # Side by side: two that hang, one after the other, make what is known of the network stale.
        await asyncio.gather(*(self._verify(one, serves=one is self._current) for one in due))
        await self._compare()
        return [self._health(node) for node in self._nodes]

    async def _compare(self) -> None:
        """All verified nodes must hold the same block where the shortest of them is final."""
        able = [node for node in self._nodes if node.verified and node.head is not None]
        heads = [node.head.number for node in able if node.head is not None]
        if len(able) < 2 or min(heads) < self._network.confirmations:
            return
        number = min(heads) - self._network.confirmations + 1
        seen: dict[str, str] = {}
        for node in able:
            try:
                asked = node.rpc.call(GET_BLOCK, (hex(number), False))
                answer = await (asked if node is self._current else soon(asked))
                if answer is not None:
                    seen[node.name] = parse_ref(answer).hash
            except (*FAILURES, NodeRejected) as error:
                self.failed(node, error)
        if len(set(seen.values())) > 1:
            raise Disagreement(number, list(seen))

    def _health(self, node: Node) -> NodeHealth:
        state = "serving" if node is self._current else "standby"
        if not node.verified:
            state = "wrong_chain" if node.problem == "wrong_chain" else "away"
        elif self._behind(node):
            state = "lagging"
        return NodeHealth(node.position, state, node.head and node.head.number, node.problem)


def _in_parts(calls: Sequence[Call]) -> bool:
    return len(calls) > 1 and {method for method, _ in calls} <= IN_PARTS | {GET_RECEIPT}


def _sends(calls: Sequence[Call]) -> bool:
    return any(method == SUBMISSION for method, _ in calls)

"""One node of several: by its place in the networks file, how it stands, and how it failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from chain.blocks import BlockRef
from chain.errors import ChainError, NodeGarbage, NodeTimeout, NodeUnavailable
from chain.rpc import Rpc

MAX_LAG_BLOCKS = 5
"""A node further behind the best head is not read from while another one is not."""
STILL_SECONDS = 120.0
"""A node that answers, is so far behind and has had no new block for so long has no say in what is
final; one that is behind and follows has."""
BESIDE_SECONDS = 3.0
"""Longer no node is waited for beside the serving one: answers that take nearly 10 s hold up every
payment, and make what is known of the network stale."""
FAILURES = (NodeUnavailable, NodeTimeout, NodeGarbage)
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Node:
    """One node by its place in the networks file; its address is kept out of every message."""

    position: int
    rpc: Rpc
    verified: bool = False
    failures: int = 0
    turn: int = 0
    """Counts its failures and never begins anew."""
    not_before: float = 0.0
    head: BlockRef | None = None
    probed_at: float | None = None
    newest: str = ""
    """Hash of the head it told last; a failure does not forget it."""
    moved_at: float = 0.0
    problem: str = ""

    @property
    def name(self) -> str:
        """As logs and operators call it."""
        return f"node {self.position + 1}"


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """How one node stands. `state`: serving, standby, lagging, away or wrong_chain."""

    position: int
    state: str
    head_number: int | None
    detail: str


class Disagreement(Exception):
    """Two nodes hold different blocks at a height that both call final: nobody can be trusted."""

    def __init__(self, number: int, nodes: Sequence[str]) -> None:
        self.number = number
        super().__init__(f"{' and '.join(nodes)} disagree about final block {number}")


class Judge(Protocol):
    """Who counts failures."""

    def failed(self, node: Node, error: ChainError) -> None:
        """The node pauses."""
        ...


@dataclass(frozen=True, slots=True)
class Turn:
    """A node between two failures: what it told then counts as one failure, however often."""

    rpc: Judge
    node: Node
    count: int

    def blame(self, error: NodeGarbage) -> None:
        """As if the node had answered so in the first place."""
        if self.node.turn == self.count:
            self.rpc.failed(self.node, error)


async def soon(asked: Awaitable[T]) -> T:
    """What a node answers beside the serving one. Raises NodeTimeout."""
    try:
        async with asyncio.timeout(BESIDE_SECONDS):
            return await asked
    except TimeoutError:
        raise NodeTimeout("the node did not answer in time") from None

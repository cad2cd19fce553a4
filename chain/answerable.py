"""Garbage that shows only when answers are read, or beside each other, counts against their node.

A transport with several nodes says who answered (`heard`); who reads does so inside `answerable()`.
Garbage that leaves it is the fault of the node that gave all the answers inside. Where several
gave them, each may be right and only their views differ: then nobody is blamed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Protocol

from chain.errors import AnswerTooLarge, NodeGarbage, NodeRejected
from chain.rpc import Rpc


class Teller(Protocol):
    """A node, from its verification to its next failure."""

    def blame(self, error: NodeGarbage) -> None:
        """Count a failure, unless it has failed since."""
        ...


_heard: ContextVar[set[Teller] | None] = ContextVar("heard", default=None)


def heard(teller: Teller) -> None:
    """An answer of this node was taken."""
    tellers = _heard.get()
    if tellers is not None:
        tellers.add(teller)


def blame(error: NodeGarbage) -> None:
    """For garbage that need not be raised. Nothing happens outside of `answerable()`."""
    tellers = _heard.get()
    if tellers is not None and len(tellers) == 1:
        next(iter(tellers)).blame(error)


@asynccontextmanager
async def answerable() -> AsyncIterator[None]:
    """For what reads, tasks that it starts included; also as a decorator. Inside of another one it
    changes nothing: the whole of what was read together is judged."""
    if _heard.get() is not None:
        yield
        return
    token = _heard.set(set())
    try:
        yield
    except AnswerTooLarge:
        raise  # strangers have a part in it; the transport counts it where the node alone has
    except NodeGarbage as error:
        blame(error)
        raise
    finally:
        _heard.reset(token)


async def own_word(rpc: Rpc, method: str, params: Sequence[object]) -> object:
    """An answer in which no stranger and no contract has a part: a node that refuses it cannot
    serve. Raises NodeGarbage for what it would reject."""
    try:
        return await rpc.call(method, params)
    except NodeRejected as error:
        raise NodeGarbage(f"{method} is refused: {error}") from None

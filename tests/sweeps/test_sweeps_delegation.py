"""A node that refuses delegations is asked seldom, and nothing is signed for it in between."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from chain.client import ChainClient
from chain.errors import NodeRejected
from keys.signer import Signer
from wallet.sweeps import delegation
from wallet.sweeps.delegation import (
    ASK_AGAIN_MOST_SECONDS,
    ASK_AGAIN_SECONDS,
    LIMIT_EXCEEDED,
    Delegations,
)

WISH: Any = object()


class Node:
    """Answers every estimate as it is told."""

    network = SimpleNamespace(name="local", contracts={"sweep_batch": "0x1"})
    answer: int | NodeRejected = 100_000

    async def estimate_gas(self, *_: object) -> int:
        if isinstance(self.answer, NodeRejected):
            raise self.answer
        return self.answer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_000.0]
    monkeypatch.setattr(delegation.clock, "steady", lambda: now[0])
    return now


async def test_each_refusal_doubles_the_wait_up_to_a_day(clock: list[float]) -> None:
    node = Node()
    asked = Delegations(cast(ChainClient, node), cast(Signer, None))
    node.answer = NodeRejected(-32602, "unknown transaction type", None)
    wait = ASK_AGAIN_SECONDS
    for _ in range(12):
        assert asked.may_ask()
        assert not await asked.known(b"", [WISH], caller="0x2")
        clock[0] += wait - 1
        assert not asked.may_ask()
        clock[0] += 1
        wait = min(2 * wait, ASK_AGAIN_MOST_SECONDS)
    node.answer = 100_000
    assert asked.may_ask() and await asked.known(b"", [WISH], caller="0x2")
    node.answer = 21_000  # as if there were no wishes: it overlooks them
    assert not await asked.known(b"", [WISH], caller="0x2")
    clock[0] += ASK_AGAIN_SECONDS  # it had known them: the wait begins anew
    assert asked.may_ask()


async def test_a_busy_node_and_a_plain_call_are_no_refusal(clock: list[float]) -> None:
    node = Node()
    asked = Delegations(cast(ChainClient, node), cast(Signer, None))
    node.answer = NodeRejected(LIMIT_EXCEEDED, "limit exceeded", None)
    with pytest.raises(NodeRejected):
        await asked.known(b"", [WISH], caller="0x2")
    assert asked.may_ask()
    assert await asked.known(b"", [], caller="0x2")

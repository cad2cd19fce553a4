"""Faults to switch on in the sandbox and in tests, at the transport, where real ones happen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chain.errors import NodeTimeout, NodeUnavailable
from chain.rpc import Answer, Call, Rpc

RPC_DROPS_REPLY = "rpc_drops_reply"  # The node takes the transaction; its answer never arrives.
NODE_AWAY = "node_away"  # No request reaches the node.
CHAIN_FAULTS = frozenset({RPC_DROPS_REPLY, NODE_AWAY})
_SUBMISSIONS = frozenset({"eth_sendRawTransaction"})


class FaultSwitch:
    """The set of faults that are on. Shared by reference; names of other rooms are welcome."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = set(names)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    @property
    def names(self) -> frozenset[str]:
        """The faults that are on now."""
        return frozenset(self._names)

    def replace(self, names: Iterable[str]) -> None:
        """Switch on exactly these."""
        self._names = set(names)

    def on(self, name: str) -> None:
        """Switch one on."""
        self._names.add(name)

    def off(self, name: str) -> None:
        """Switch one off."""
        self._names.discard(name)


class FaultyRpc:
    """A transport that behaves like `inner` until a fault of CHAIN_FAULTS is on."""

    def __init__(self, inner: Rpc, switch: FaultSwitch) -> None:
        self._inner = inner
        self._switch = switch
        self.shared = getattr(inner, "shared", None)
        self.confirmed = getattr(inner, "confirmed", None)
        self.passed = getattr(inner, "passed", None)
        self.spread = getattr(inner, "spread", None)
        self.each = getattr(inner, "each", None)
        self.arrived = getattr(inner, "arrived", None)

    async def call(self, method: str, params: Sequence[object] = ()) -> object:
        """One call through the faults."""
        self._refuse_if_away()
        result = await self._inner.call(method, params)
        self._drop_if_submission([method])
        return result

    async def batch(self, calls: Sequence[Call]) -> list[object]:
        """A batch through the faults."""
        self._refuse_if_away()
        results = await self._inner.batch(calls)
        self._drop_if_submission([method for method, _ in calls])
        return results

    async def batch_answers(self, calls: Sequence[Call]) -> list[Answer]:
        """A batch through the faults, rejections in place."""
        self._refuse_if_away()
        answers = await self._inner.batch_answers(calls)
        self._drop_if_submission([method for method, _ in calls])
        return answers

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()

    def _refuse_if_away(self) -> None:
        if NODE_AWAY in self._switch:
            raise NodeUnavailable("the node is switched away (fault node_away)")

    def _drop_if_submission(self, methods: Sequence[str]) -> None:
        if RPC_DROPS_REPLY in self._switch and _SUBMISSIONS.intersection(methods):
            raise NodeTimeout("the answer was dropped (fault rpc_drops_reply)")

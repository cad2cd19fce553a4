"""A transport that drops, delays, alters or refuses what goes between us and a real node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from chain.errors import NodeRejected, NodeTimeout
from chain.rpc import Answer, Call, Rpc

SUBMIT = "eth_sendRawTransaction"
Alter = Callable[[str, Sequence[object], Any], Any]


class Meddler(Rpc):
    """`lose_before` methods never reach the node, `lose_after` ones do and their answer is lost;
    both raise NodeTimeout. `alter(method, params, result)` may change a result, or return a
    NodeRejected to be raised in its place. `sent` keeps every submission that reached the node.
    `before` is awaited ahead of every request; `told` hears what was lost and what was changed."""

    def __init__(self, inner: Rpc) -> None:
        self.inner = inner
        self.lose_before: set[str] = set()
        self.lose_after: set[str] = set()
        self.alter: Alter | None = None
        self.sent: list[str] = []
        self.asked: list[str] = []
        self.before: Callable[[], Awaitable[None]] | None = None
        self.told: Callable[[str, object], None] | None = None

    def calm(self) -> None:
        """Back to an honest node."""
        self.lose_before, self.lose_after, self.alter = set(), set(), None

    async def call(self, method: str, params: Sequence[object] = ()) -> object:
        """One call through the faults."""
        [answer] = await self.batch_answers([(method, params)])
        if isinstance(answer, NodeRejected):
            raise answer
        return answer

    async def batch(self, calls: Sequence[Call]) -> list[object]:
        """A batch through the faults; the first rejection is raised."""
        answers = await self.batch_answers(calls)
        for answer in answers:
            if isinstance(answer, NodeRejected):
                raise answer
        return answers

    async def batch_answers(self, calls: Sequence[Call]) -> list[Answer]:
        """A batch through the faults."""
        methods = {method for method, _ in calls}
        self.asked += [method for method, _ in calls]
        if self.before is not None:
            await self.before()
        if methods & self.lose_before:
            self._tell("request lost", calls)
            raise NodeTimeout("the request was lost")
        self.sent += [str(params[0]) for method, params in calls if method == SUBMIT]
        # By plain names: what is altered is JSON.
        answers = await self.inner.batch_answers([(str(name), params) for name, params in calls])
        if methods & self.lose_after:
            self._tell("answer lost", [method for method, _ in calls])
            raise NodeTimeout("the answer was lost")
        if self.alter is None:
            return answers
        altered = [
            self.alter(method, params, answer)
            for (method, params), answer in zip(calls, answers, strict=True)
        ]
        if altered != answers:
            self._tell("answers altered", altered)
        return altered

    def _tell(self, what: str, content: object) -> None:
        if self.told is not None:
            self.told(what, content)

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self.inner.aclose()

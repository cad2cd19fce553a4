"""Many signed transactions in few exchanges: each answered on its own, none lost or sent twice."""

from __future__ import annotations

from chain.client import ChainClient
from chain.errors import NodeTimeout
from chain.outcomes import SendKind
from chain.rpc import MAX_BATCH, Answer, Call, Rpc
from chain.transactions import tx_hash
from tests.chain.benches import Bench, sign


async def test_each_of_a_batch_is_answered_on_its_own(bench: Bench) -> None:
    await bench.hold_mining()
    good = [sign(bench.payment(n, value=1)) for n in range(3)]
    sent = [good[0], b"\x02junk", good[1], good[0], good[2]]
    outcomes = await bench.client.send_many(sent)
    kinds = [outcome.kind for outcome in outcomes]
    assert [kinds[0], kinds[2], kinds[4]] == [SendKind.ACCEPTED] * 3
    assert kinds[1] is SendKind.MALFORMED
    assert kinds[3] is SendKind.KNOWN
    assert all(await bench.client.known([tx_hash(raw) for raw in good]))


class DeafAfterFirst(Rpc):
    """Takes the first exchange; the second one's answer is lost."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self.exchanges = 0

    async def call(self, method: str, params: object = ()) -> object:
        raise AssertionError("not asked one by one")

    async def batch(self, calls: object) -> list[object]:
        raise AssertionError("rejections have their place")

    async def batch_answers(self, calls: list[Call]) -> list[Answer]:
        self.exchanges += 1
        answers = await self._rpc.batch_answers(calls)
        if self.exchanges == 2:
            raise NodeTimeout("the answer is lost")
        return answers

    async def aclose(self) -> None:
        await self._rpc.aclose()


async def test_a_lost_answer_leaves_its_part_open_and_only_that(bench: Bench) -> None:
    await bench.hold_mining()
    count = MAX_BATCH + 5
    raws = [sign(bench.payment(n, value=1)) for n in range(count)]
    deaf = DeafAfterFirst(bench.rpc)
    outcomes = await ChainClient(bench.client.network, deaf).send_many(raws)
    assert [o.kind for o in outcomes[:MAX_BATCH]] == [SendKind.ACCEPTED] * MAX_BATCH
    assert [o.kind for o in outcomes[MAX_BATCH:]] == [SendKind.UNKNOWN] * 5
    assert deaf.exchanges == 2

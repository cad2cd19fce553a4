"""D21: a provider that answers only short ranges is read to the end, and nothing is skipped."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pytest

from chain.errors import ChainError, NodeGarbage, NodeRejected, NodeTimeout
from chain.rpc import Answer, Call, Rpc
from tests.faults_receive.conftest import Inbox
from wallet.deposits.window import Window
from wallet.testing.meddler import Meddler

USDC = 10**6
BEHIND = 60
MOST = 3


class ShortRanges(Meddler):
    """Refuses, in one of three ways, to answer more than `most` blocks at once."""

    def __init__(self, inner: Rpc, error: ChainError) -> None:
        super().__init__(inner)
        self.error = error
        self.most = MOST
        self.refused: list[int] = []
        self.answered: list[int] = []

    async def batch_answers(self, calls: Sequence[Call]) -> list[Answer]:
        """As the inner transport, but for long lists of full blocks."""
        full = sum(method == "eth_getBlockByNumber" and params[1] is True
                   for method, params in calls)  # fmt: skip
        if full > self.most:
            self.refused.append(full)
            raise self.error
        if full:
            self.answered.append(full)
        return await super().batch_answers(calls)


@pytest.mark.parametrize(
    "error",
    [
        NodeRejected(-32005, "query returned more than 10000 results"),
        NodeTimeout("the node did not answer in time"),
        NodeGarbage("the node's answer is larger than 16777216 bytes"),
    ],
    ids=["cap", "time", "size"],
)
async def test_d21_the_range_is_halved_until_the_node_answers(
    inbox: Inbox, error: ChainError
) -> None:
    seam = inbox.seam
    await seam.pay_in(inbox.address, "1", "USDC")
    await seam.dev.mine(BEHIND)
    await seam.pay_in(inbox.address, "2", "USDC")
    await seam.dev.mine(BEHIND)
    inbox.meddler = node = ShortRanges(seam.opened[-1], error)
    inbox.stand()
    [before] = await seam.rows("SELECT tip_number FROM scan_state")
    head = (await seam.chain.head()).number
    for _ in range(200):
        with contextlib.suppress(ChainError):
            await seam.scanner.tick()
        [now] = await seam.rows("SELECT tip_number FROM scan_state")
        if now.tip_number == head:
            break
    assert now.tip_number == head
    assert node.refused[:3] == [20, 10, 5] and max(node.answered) == MOST
    assert sum(node.answered) == head - before.tip_number  # each block once, none left out
    node.most = 1_000
    await seam.finish()
    assert await inbox.total("USDC") == 3 * USDC and await inbox.gaps() == 0


def test_d21_a_window_never_closes_and_grows_back() -> None:
    window = Window(20)
    for _ in range(9):
        window.shrink()
    assert window.size == 1
    for _ in range(30):
        window.grow()
    assert window.size == 20
    with pytest.raises(ValueError, match="at least one"):
        Window(0)

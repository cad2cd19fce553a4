"""D21: a provider that answers only short ranges is read to the end, and nothing is skipped."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import pytest

from chain.errors import ChainError, NodeGarbage, NodeRejected, NodeTimeout
from chain.rpc import Answer, Call, Rpc
from chain.window import Window
from tests.faults_receive.conftest import Inbox
from wallet.testing.meddler import Meddler
from wallet.testing.seam import Seam

USDC = 10**6
BEHIND = 60
MOST = 3


class ShortRanges(Meddler):
    """Refuses, in one of three ways, full blocks or logs of more than `most` blocks at once."""

    def __init__(self, inner: Rpc, error: ChainError) -> None:
        super().__init__(inner)
        self.error = error
        self.most = MOST
        self.refused: list[int] = []
        self.answered: list[int] = []
        self.logs_alone = False

    async def call(self, method: str, params: Sequence[Any] = ()) -> object:
        """As the inner transport, but for logs of long ranges."""
        if method == "eth_getLogs":
            asked = int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) + 1
            if asked > self.most:
                self.refused.append(asked)
                raise self.error
            self.answered.append(asked)
        return await super().call(method, params)

    async def batch_answers(self, calls: Sequence[Call]) -> list[Answer]:
        """As the inner transport, but for long lists of full blocks."""
        full = sum(method == "eth_getBlockByNumber" and params[1] is True
                   for method, params in calls)  # fmt: skip
        if full > self.most and not self.logs_alone:
            self.refused.append(full)
            raise self.error
        if full and not self.logs_alone:
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
    head = await catch_up(seam)
    assert max(node.refused) == 25 and node.refused[-1] <= 2 * MOST  # 25 in each of four requests
    assert max(node.answered) == MOST
    assert head - before.tip_number <= sum(node.answered) < 2 * (head - before.tip_number)
    node.most = 1_000
    await seam.finish()
    assert await inbox.total("USDC") == 3 * USDC and await inbox.gaps() == 0


async def test_d21_a_short_range_of_logs_is_enough(inbox: Inbox) -> None:
    seam = inbox.seam
    for amount in ("1", "2", "3", "4"):
        await seam.pay_in(inbox.address, amount, "USDC")
        await seam.dev.mine(4)
    await seam.dev.mine(BEHIND)
    refusal = NodeRejected(-32005, "query returned more than 10000 results")
    inbox.meddler = node = ShortRanges(seam.opened[-1], refusal)
    node.logs_alone = True
    inbox.stand()
    await catch_up(seam)
    assert node.refused and node.refused[-1] <= 2 * MOST and max(node.answered) <= MOST
    node.most = 1_000
    await seam.finish()
    assert await inbox.total("USDC") == 10 * USDC and await inbox.gaps() == 0


async def test_the_last_of_eleven_hundred_addresses_is_credited(inbox: Inbox) -> None:
    seam = inbox.seam
    await seam.rows(
        "INSERT INTO deposit_addresses (id, principal_id, network, derivation_index, address,"
        " is_current) SELECT 'adr_many_' || n, :ada, 'local', 1000 + n, '0x' ||"
        " lpad(lpad(n::text, 4, '0'), 40, '4'), false FROM generate_series(1, 1100) AS n"
        " RETURNING 1",
        ada=inbox.ada,
    )
    last = "0x" + "1100".rjust(40, "4")
    inbox.stand()
    await seam.pay_in(last, "1", "USDC")
    await seam.dev.mine(BEHIND)  # in a range of blocks, and block by block
    await seam.pay_in(last, "2", "ETH")
    await seam.finish()
    assert (await inbox.total("USDC"), await inbox.total("ETH")) == (USDC, 2 * 10**18)
    assert await seam.differences() == []


async def catch_up(seam: Seam) -> int:
    """Passes until the scanner stands at the head, whose height is answered."""
    head = (await seam.chain.head()).number
    for _ in range(200):
        with contextlib.suppress(ChainError):
            await seam.scanner.tick()
        [now] = await seam.rows("SELECT tip_number FROM scan_state")
        if now.tip_number == head:
            return head
    raise AssertionError(f"stuck at {now.tip_number} of {head}")


def test_d21_a_window_never_closes_and_grows_back() -> None:
    window = Window(20)
    window.shrink(20)
    window.shrink(20)  # asked before, refused at the same time
    assert window.size == 10 and not window.whole
    for _ in range(9):
        window.shrink(window.size)
    assert window.size == 1
    for _ in range(30):
        window.grow()
    assert window.size == 20 and window.whole
    with pytest.raises(ValueError, match="at least one"):
        Window(0)

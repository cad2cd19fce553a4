"""A node that takes over in the middle of a look: what it shows is as final as it is there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chain.client import ChainClient
from chain.errors import NodeTimeout
from chain.failover import FailoverRpc
from chain.testing import FakeNode
from chain.testing.fake_node import FAUCET
from tests.chain.benches import local_network
from wallet.onchain import repository
from wallet.onchain.desk import Desk
from wallet.onchain.observe import IntentObserver
from wallet.onchain.repository import Attempt, Intent
from wallet.onchain.states import State

GWEI = 10**9
OUTSIDE = "0x" + "2" * 40
NOW = datetime(2026, 11, 29, tzinfo=UTC)


async def test_what_is_final_at_one_node_is_not_where_another_is_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other one stands ten blocks lower, on a block that has been replaced since."""
    ahead, behind = FakeNode(), FakeNode()
    for node in (ahead, behind):
        await node.rpc.call("anvil_mine", (hex(5),))
    behind.chain._forks = 1
    tx = str(
        await behind.rpc.call(
            "eth_sendTransaction", ({"from": FAUCET, "to": OUTSIDE, "value": "0x5"},)
        )
    )
    await ahead.rpc.call("anvil_mine", (hex(11),))
    rpc = FailoverRpc(local_network(), [ahead.rpc, behind.rpc])
    chain = ChainClient(local_network(), rpc)
    moves: list[State] = []

    @asynccontextmanager
    async def transaction() -> AsyncIterator[None]:
        yield None

    async def move(_: object, intent_id: str, to: State, **changes: Any) -> Intent:
        moves.append(to)
        return intent

    async def attempts(*_: object) -> dict[str, list[Attempt]]:
        return {
            "int_1": [
                Attempt(
                    intent_id="int_1", seq=1, kind="pay", unsigned=b"", tip_wei=GWEI,
                    cap_wei=100 * GWEI, refused=None, raw=b"bytes", tx_hash=tx, sends=1,
                    seconds_since_sent=1.0, age_seconds=1.0, last_outcome="accepted",
                    last_message="", created_at=NOW, first_sent_at=NOW,
                )
            ]
        }  # fmt: skip

    monkeypatch.setattr(repository, "attempts_of", attempts)
    intent = Intent(
        id="int_1", purpose="withdrawal", ref="wdr_1", network="local", asset="ETH",
        to_address=OUTSIDE, amount_minor=5, gas_limit=21_000, fee_ceiling_wei=100 * GWEI,
        state=State.SENT, reason=None, waiting_for=None, from_address=FAUCET, nonce=0,
        mined_tx_hash=None, mined_kind=None, mined_block=None, mined_block_hash=None,
        mined_status=None, gas_used=None, gas_fee_wei=None, passed_at_block=None,
        cancel_requested_at=None, speed_up_requested_at=None,
    )  # fmt: skip
    desk: Any = SimpleNamespace(
        db=SimpleNamespace(transaction=transaction), chain=chain, move=move, network="local"
    )
    head = await chain.head()
    final = await chain.final_number(head)
    assert final >= 6  # the height of the payment's block at the other node
    rpc.failed(rpc._nodes[0], NodeTimeout("slow"))  # as any other loop's call may find
    await IntentObserver(cast(Desk, desk)).run([intent], head=head, final=final, mined_nonces=0)
    assert rpc._current is rpc._nodes[1]
    assert moves == [State.MINED]

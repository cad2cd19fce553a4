"""The dropped reply and the absent node: nothing is sent twice, nothing is called failed."""

from __future__ import annotations

import pytest

from chain.client import ChainClient
from chain.errors import NodeUnavailable
from chain.faults import NODE_AWAY, RPC_DROPS_REPLY, FaultSwitch, FaultyRpc
from chain.outcomes import SendKind
from chain.rpc import JsonRpc
from chain.testing import FaultProxy
from chain.transactions import tx_hash
from tests.chain.benches import OUTSIDER, Bench, local_network, sign


class TestFaultyRpc:
    async def test_a_dropped_reply_is_unknown_and_the_payment_is_out(self, bench: Bench) -> None:
        switch = FaultSwitch([RPC_DROPS_REPLY])
        client = ChainClient(bench.client.network, FaultyRpc(bench.rpc, switch))
        raw = sign(bench.payment(0))
        assert (await client.send_raw(raw)).kind is SendKind.UNKNOWN
        await bench.mined(tx_hash(raw))
        assert await client.nonce(bench.payment(0).to) == 0  # Reads pass.
        assert (await client.send_raw(raw)).kind is SendKind.NONCE_TOO_LOW
        head = await client.head()
        assert await client.balances([OUTSIDER], "ETH", head.number) == [10**15]

    async def test_an_absent_node_gets_nothing(self, bench: Bench) -> None:
        switch = FaultSwitch()
        client = ChainClient(bench.client.network, FaultyRpc(bench.rpc, switch))
        raw = sign(bench.payment(0))
        switch.on(NODE_AWAY)
        assert (await client.send_raw(raw)).kind is SendKind.UNKNOWN
        with pytest.raises(NodeUnavailable):
            await client.head()
        with pytest.raises(NodeUnavailable):
            await client.receipts([tx_hash(raw)])
        switch.replace([])
        assert await client.known([tx_hash(raw)]) == [False]
        assert (await client.send_raw(raw)).kind is SendKind.ACCEPTED

    def test_the_switch_keeps_names_of_other_rooms(self) -> None:
        switch = FaultSwitch(["payout_rejected"])
        switch.on(NODE_AWAY)
        switch.off("never_on")
        assert switch.names == {"payout_rejected", NODE_AWAY} and RPC_DROPS_REPLY not in switch


class TestThroughARealProxy:
    @pytest.mark.parametrize("fault", ["drop_reply", "hang"])
    async def test_taken_by_the_node_unknown_to_us_paid_once(
        self, on_anvil: Bench, fault: str
    ) -> None:
        assert on_anvil.url is not None
        async with FaultProxy(on_anvil.url) as proxy:
            rpc = JsonRpc(proxy.url, timeout_seconds=1.0)
            client = ChainClient(local_network(on_anvil.usdc), rpc)
            raw = sign(on_anvil.payment(0))
            proxy.fault = fault  # type: ignore[assignment]
            for _ in range(3):
                assert (await client.send_raw(raw)).kind is SendKind.UNKNOWN
            assert proxy.seen["eth_sendRawTransaction"] == 3 == len(proxy.bodies)
            assert len({body[body.index(b"0x02") :] for body in proxy.bodies}) == 1
            proxy.fault = "none"
            assert (await client.send_raw(raw)).kind is SendKind.NONCE_TOO_LOW
            await rpc.aclose()
        head = await on_anvil.client.head()
        assert await on_anvil.client.balances([OUTSIDER], "ETH", head.number) == [10**15]

    async def test_never_taken_is_unknown_too(self, on_anvil: Bench) -> None:
        assert on_anvil.url is not None
        async with FaultProxy(on_anvil.url) as proxy:
            rpc = JsonRpc(proxy.url, timeout_seconds=5.0)
            client = ChainClient(local_network(on_anvil.usdc), rpc)
            raw = sign(on_anvil.payment(0))
            proxy.fault = "drop_request"
            assert (await client.send_raw(raw)).kind is SendKind.UNKNOWN
            assert proxy.seen["eth_sendRawTransaction"] == 1
            assert await client.known([tx_hash(raw)]) == [False]
            proxy.fault = "none"
            assert (await client.send_raw(raw)).kind is SendKind.ACCEPTED
            await rpc.aclose()

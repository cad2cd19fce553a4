"""What used a nonce up is read from its block: with and without old states, ours or anybody's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from eth_account import Account

from chain import spent
from chain.client import ChainClient
from chain.errors import NodeRejected
from chain.rpc import Answer, Call, Rpc
from chain.spent import spender
from chain.testing.delegation import authorize
from chain.transactions import decode_signed, encode_unsigned
from tests.chain.benches import KEY, OUTSIDER, SIGNER, Bench, sign


class Pruned:
    """The bench's transport to a node without states below `oldest`; notes the blocks read."""

    def __init__(self, rpc: Rpc, oldest: int) -> None:
        self._rpc = rpc
        self.oldest = oldest
        self.read: list[int] = []

    async def call(self, method: str, params: Sequence[Any] = ()) -> object:
        if method == "eth_getTransactionCount" and int(params[1], 16) < self.oldest:
            raise NodeRejected(-32000, "missing trie node")
        return await self._rpc.call(method, params)

    async def batch(self, calls: Sequence[Call]) -> list[object]:
        self.read += [int(str(params[0]), 16) for _, params in calls]
        return await self._rpc.batch(calls)

    async def batch_answers(self, calls: Sequence[Call]) -> list[Answer]:
        return await self._rpc.batch_answers(calls)

    async def aclose(self) -> None:
        raise AssertionError("not opened here")


async def _payments(bench: Bench, count: int = 4) -> tuple[list[bytes], int]:
    """So many payments of SIGNER, five blocks apart; the head after them."""
    raws = []
    for nonce in range(count):
        raws.append(sign(bench.payment(nonce)))
        await bench.submit(raws[-1])
        await bench.dev.mine(4)
    return raws, (await bench.client.head()).number


async def test_each_nonce_has_its_transaction_with_the_bytes_that_were_signed(
    bench: Bench,
) -> None:
    raws, head = await _payments(bench)
    for nonce, raw in enumerate(raws):
        found = await spender(bench.client, SIGNER, nonce, final=head)
        assert found is not None and found.raw == raw
        fields = decode_signed(raw)[0]
        assert found.pays_as(fields)
        assert not found.pays_as(bench.payment(nonce, value=1))
        assert found.block.transactions[found.tx.index].hash == found.tx.hash
    assert await spender(bench.client, SIGNER, 4, final=head) is None
    assert await spender(bench.client, SIGNER, 3, final=head - 5) is None
    assert await spender(bench.client, SIGNER, 0, final=-1) is None


async def test_without_old_states_blocks_are_read_from_where_it_was_seen(bench: Bench) -> None:
    raws, head = await _payments(bench)
    rpc = Pruned(bench.rpc, head - 2)
    client = ChainClient(bench.client.network, rpc)
    found = await spender(client, SIGNER, 1, final=head, near=head - 12)
    assert found is not None and found.raw == raws[1]
    assert max(rpc.read) == head - 12 and len(rpc.read) <= 25
    far = await spender(client, SIGNER, 0, final=head)
    assert far is not None and far.raw == raws[0]


async def test_what_is_too_far_below_is_not_shown(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, head = await _payments(bench)
    monkeypatch.setattr(spent, "SEARCH_BLOCKS", 10)
    client = ChainClient(bench.client.network, Pruned(bench.rpc, head))
    assert await spender(client, SIGNER, 3, final=head) is not None
    assert await spender(client, SIGNER, 0, final=head) is None


async def test_a_transaction_of_another_kind_has_no_bytes_of_ours(on_anvil: Bench) -> None:
    signed = Account.from_key(KEY).sign_transaction(
        {"chainId": 31337, "nonce": 0, "gas": 21_000, "gasPrice": 10**10, "to": OUTSIDER,
         "value": 10**15, "data": b""}
    )  # fmt: skip
    await on_anvil.submit(bytes(signed.raw_transaction))
    head = (await on_anvil.client.head()).number
    found = await spender(on_anvil.client, SIGNER, 0, final=head)
    assert found is not None and found.raw is None
    assert found.pays_as(on_anvil.payment(0))


async def test_bytes_with_authorisations_come_back_whole(on_anvil: Bench) -> None:
    signed = Account.from_key(KEY).sign_transaction(
        {"chainId": 31337, "nonce": 0, "gas": 200_000, "maxFeePerGas": 10**10, "value": 0,
         "maxPriorityFeePerGas": 10**9, "to": OUTSIDER, "data": b"\1\2\3\4",
         "authorizationList": [
             authorize(bytes([8]) * 32, chain_id=31337, delegate=on_anvil.usdc, nonce=0)
         ]}
    )  # fmt: skip
    raw = bytes(signed.raw_transaction)
    await on_anvil.submit(raw)
    head = (await on_anvil.client.head()).number
    found = await spender(on_anvil.client, SIGNER, 0, final=head)
    assert found is not None and found.raw == raw
    assert encode_unsigned(decode_signed(raw)[0])[0] == 4
    # The authorisation has used a nonce of its signer up, and no transaction has that nonce.
    assert await on_anvil.client.nonce(OUTSIDER) == 1
    assert await spender(on_anvil.client, OUTSIDER, 0, final=head) is None

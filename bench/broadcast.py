"""Handing signed bytes to a node and reading receipts: our client, web3.py, and the node alone.

Each round starts from the same snapshot of one Anvil that mines only when told, and sends the same
transactions by `ChainClient.send_many`, one by one through web3.py, and as ready-made JSON batches
(what the node itself can take). They are mined in blocks of `A_BLOCK`; their receipts are then read
the same three ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import aiohttp
import orjson
import uvloop
from eth_account import Account
from web3 import AsyncHTTPProvider, AsyncWeb3

from bench import ratios
from chain.client import ChainClient
from chain.dev import DevNode
from chain.lanes import LANES, in_lanes, split
from chain.outcomes import SendKind
from chain.registry import Network
from chain.rpc import MAX_BATCH
from chain.testing import AnvilProcess
from chain.transactions import tx_hash
from wallet.processes import collect_seldom

SENDERS = 40
AGAIN = 5  # times that the fast sides read the receipts in a round
EACH = 15  # below the 16 in flight that a pool takes of one sender
A_BLOCK = 120  # transactions; a node looks a receipt up in its whole block
TO = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


def measure(*, rounds: int, seconds: float) -> dict[str, Any]:
    """Medians in transactions a second, and the ratios of each round. `seconds` is not used."""
    return uvloop.run(_measure(rounds))


async def _measure(rounds: int) -> dict[str, Any]:
    keys = [bytes([9]) * 31 + bytes([n + 1]) for n in range(SENDERS)]
    raws = [_signed(key, nonce) for nonce in range(EACH) for key in keys]
    hashes = [tx_hash(raw) for raw in raws]
    collect_seldom()  # as a worker does
    process = AnvilProcess()
    process.start()
    rpc = process.rpc()
    client = ChainClient(_network(process.url), rpc)
    dev = DevNode(rpc)
    rounds_taken = ratios.Rounds(process.pid)
    try:
        for key in keys:
            address = Account.from_key(key).address
            await rpc.call("anvil_setBalance", (address, hex(10**20)))
        await rpc.call("evm_setAutomine", (False,))
        await dev.mine(1)
        snapshot = await rpc.call("evm_snapshot")
        async with aiohttp.ClientSession() as session:
            provider = AsyncHTTPProvider(process.url, exception_retry_configuration=None)
            web3 = AsyncWeb3(provider)
            for _ in range(rounds):
                for name, send in (
                    ("ours", lambda: _ours(client, raws)),
                    ("web3", lambda: _by_web3(web3, raws)),
                    ("node", lambda: _bare(session, process.url, "eth_sendRawTransaction", raws)),
                ):
                    await rounds_taken.take(f"send {name}", send, items=len(raws))
                    await rpc.call("evm_revert", (snapshot,))
                    await rpc.call("anvil_dropAllTransactions")
                    snapshot = await rpc.call("evm_snapshot")
                for start in range(0, len(raws), A_BLOCK):
                    await _ours(client, raws[start : start + A_BLOCK])
                    await dev.mine(1)
                assert all(await client.receipts(hashes))
                for name, read in (
                    ("ours", lambda: client.receipts(hashes)),
                    ("web3", lambda: _receipts_by_web3(web3, hashes)),
                    (
                        "node",
                        lambda: _bare(
                            session, process.url, "eth_getTransactionReceipt", hashes, lanes=LANES
                        ),
                    ),
                ):
                    times = 1 if name == "web3" else AGAIN
                    await rounds_taken.take(
                        f"receipts {name}", read, items=len(hashes), times=times
                    )
                await rpc.call("evm_revert", (snapshot,))
                snapshot = await rpc.call("evm_snapshot")
            await provider.disconnect()
    finally:
        await rpc.aclose()
        process.stop()
    return _figures(rounds_taken)


async def _ours(client: ChainClient, raws: list[bytes]) -> None:
    outcomes = await client.send_many(raws)
    assert all(outcome.kind is SendKind.ACCEPTED for outcome in outcomes), outcomes[0]


async def _by_web3(web3: AsyncWeb3[Any], raws: list[bytes]) -> None:
    for raw in raws:
        await web3.eth.send_raw_transaction(raw)


async def _receipts_by_web3(web3: AsyncWeb3[Any], hashes: list[str]) -> None:
    for item in hashes:
        await web3.eth.get_transaction_receipt(item)  # type: ignore[arg-type]


async def _bare(
    session: aiohttp.ClientSession, url: str, method: str, items: list[Any], *, lanes: int = 1
) -> None:
    """Batches of the same size, as many at once, nothing read of the answer but its last byte."""

    async def post(part: Sequence[Any]) -> None:
        texts = [item if isinstance(item, str) else "0x" + item.hex() for item in part]
        body = orjson.dumps(
            [
                {"jsonrpc": "2.0", "id": n, "method": method, "params": [text]}
                for n, text in enumerate(texts)
            ]
        )
        headers = {"Content-Type": "application/json"}
        async with session.post(url, data=body, headers=headers) as response:
            await response.read()

    await in_lanes(split(items, MAX_BATCH), post, lanes=lanes)


def _figures(taken: ratios.Rounds) -> dict[str, Any]:
    result = taken.per_second("tx")
    for work in ("send", "receipts"):
        for peer in ("web3", "node"):
            result |= taken.faster(f"{work} ours", f"{work} {peer}")
    return result


def _signed(key: bytes, nonce: int) -> bytes:
    fields = {
        "type": 2, "chainId": 31337, "nonce": nonce, "maxPriorityFeePerGas": 10**9,
        "maxFeePerGas": 10**10, "gas": 21_000, "to": TO, "value": 1, "data": b"",
    }  # fmt: skip
    return bytes(Account.sign_transaction(fields, key).raw_transaction)


def _network(url: str) -> Network:
    return Network(
        name="bench", chain_id=31337, rpc_urls=(url,), native_asset="ETH", block_time_ms=1000,
        confirmations=1, finality="depth", logs_window=100, min_tip_wei=1, max_fee_wei=10**12,
        bump_percent=13,
    )  # fmt: skip

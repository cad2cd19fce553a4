"""Reading blocks for deposits: our client, web3.py, and the node alone; and matching addresses.

One Anvil holds `BLOCKS` blocks, each with `LOGS` token transfers and one payment of coins. Ours
reads full blocks and verified receipts, coins and tokens at once; web3.py's two ways read logs
alone, which prove nothing: the ratio of tokens compares more work with less. Matching is among
1,000,000 addresses.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import orjson
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from web3 import AsyncHTTPProvider, AsyncWeb3

from bench import ratios
from chain.client import ChainClient
from chain.dev import DevNode
from chain.observe import TRANSFER_TOPIC, Watched, native_candidates
from chain.registry import Network, Token
from chain.rpc import MAX_BATCH, Rpc
from chain.testing import AnvilProcess
from contracts.loader import artifact

BLOCKS = 300
LOGS = 10
AT_ONCE = 20  # as the scanner
MATCHED = 1_000_000
LOOKED_UP = 100_000
PAGE = 4096
TO = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
EVENT = {
    "type": "event", "name": "Transfer", "anonymous": False,
    "inputs": [
        {"name": "from", "type": "address", "indexed": True},
        {"name": "to", "type": "address", "indexed": True},
        {"name": "value", "type": "uint256", "indexed": False},
    ],
}  # fmt: skip


def measure(*, rounds: int, seconds: float) -> dict[str, Any]:
    """Medians in blocks a second, ratios of each round, and matching. `seconds` is not used."""
    return {**_matching(), **asyncio.run(_measure(rounds))}


def _matching() -> dict[str, Any]:
    before = _resident()
    watched = Watched("0x" + os.urandom(20).hex() for _ in range(MATCHED))
    size = _resident() - before
    strangers = ["0x" + os.urandom(20).hex() for _ in range(LOOKED_UP)]
    began = time.perf_counter()
    found = sum(address in watched for address in strangers)
    taken = time.perf_counter() - began
    assert found == 0
    return {
        "1,000,000 addresses (MiB)": round(size / 2**20),
        "one look-up, not ours (µs)": round(taken / LOOKED_UP * 1e6, 2),
    }


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


async def _measure(rounds: int) -> dict[str, Any]:
    process = AnvilProcess()
    process.start()
    rpc = process.rpc()
    taken = ratios.Rounds(process.pid)
    try:
        dev = DevNode(rpc)
        token = await dev.deploy(artifact("LyingToken"))
        await _fill(rpc, dev, token)
        client = ChainClient(_network(process.url, token), rpc)
        head = (await client.head()).number
        numbers = list(range(head - BLOCKS + 1, head + 1))
        watched = Watched([TO.lower()])
        async with aiohttp.ClientSession() as session:
            provider = AsyncHTTPProvider(process.url, exception_retry_configuration=None)
            web3 = AsyncWeb3(provider)
            sides: dict[str, Callable[[], Awaitable[int]]] = {
                "both ours": lambda: _ours(client, numbers, watched),
                "tokens web3 events": lambda: _by_events(web3, token, numbers),
                "tokens web3 get_logs": lambda: _by_logs(web3, token, numbers),
                "both node": lambda: _bare(session, process.url, numbers, receipts=True),
                "coins ours": lambda: _our_coins(client, numbers, watched),
                "coins web3": lambda: _web3_coins(web3, numbers),
                "coins node": lambda: _bare(session, process.url, numbers),
            }
            for _ in range(rounds):
                for name, read in sides.items():
                    found = await taken.take(name, read, items=BLOCKS)
                    tokens = BLOCKS * LOGS if name.startswith(("both", "tokens")) else 0
                    coins = BLOCKS if name.startswith(("both", "coins")) else 0
                    assert found == tokens + coins, (name, found)
            await provider.disconnect()
    finally:
        await rpc.aclose()
        process.stop()
    return _figures(taken)


async def _fill(rpc: Rpc, dev: DevNode, token: str) -> None:
    """Blocks with LOGS transfers of the token and one payment of coins each."""
    spray = await dev.deploy(artifact("ManyTransfers"))
    data = bytes(keccak(text="spray(address,address,uint256,uint256)")[:4]) + encode(
        ["address", "address", "uint256", "uint256"], [token, TO, 7, LOGS]
    )
    await rpc.call("evm_setAutomine", (False,))
    for _ in range(BLOCKS):
        await dev.call_contract(spray, data, gas=2_000_000)
        await dev.send_native(TO, 1)
        await dev.mine(1)


async def _ours(client: ChainClient, numbers: list[int], watched: Watched) -> int:
    found = 0
    for start in range(0, len(numbers), AT_ONCE):
        some = await client.full_blocks(numbers[start : start + AT_ONCE])
        blocks = [block for block in some if block is not None]
        ahead = await client.receipts_ahead(blocks, watched=watched)
        for block in blocks:
            found += len(await client.deposits(block, watched=watched, ahead=ahead))
    return found


async def _our_coins(client: ChainClient, numbers: list[int], watched: Watched) -> int:
    found = 0
    for start in range(0, len(numbers), AT_ONCE):
        for block in await client.full_blocks(numbers[start : start + AT_ONCE]):
            assert block is not None
            found += len(native_candidates(block, watched))
    return found


async def _by_events(web3: AsyncWeb3[Any], token: str, numbers: list[int]) -> int:
    contract = web3.eth.contract(address=token, abi=[EVENT])  # type: ignore[call-overload]
    return len(await contract.events.Transfer.get_logs(from_block=numbers[0], to_block=numbers[-1]))


async def _by_logs(web3: AsyncWeb3[Any], token: str, numbers: list[int]) -> int:
    query = {"fromBlock": numbers[0], "toBlock": numbers[-1], "address": token,
             "topics": [TRANSFER_TOPIC]}  # fmt: skip
    return len(await web3.eth.get_logs(query))  # type: ignore[arg-type]


async def _web3_coins(web3: AsyncWeb3[Any], numbers: list[int]) -> int:
    found = 0
    for number in numbers:
        block: Any = await web3.eth.get_block(number, full_transactions=True)
        found += sum(tx["value"] > 0 and tx["to"] == TO for tx in block["transactions"])
    return found


async def _bare(
    session: aiohttp.ClientSession, url: str, numbers: list[int], *, receipts: bool = False
) -> int:
    """Batches of what the node itself can give, nothing read of the answer but its last byte."""
    wanted = [("eth_getBlockByNumber", [hex(number), True]) for number in numbers]
    if receipts:
        wanted += [("eth_getBlockReceipts", [hex(number)]) for number in numbers]
    for start in range(0, len(wanted), MAX_BATCH):
        body = orjson.dumps(
            [
                {"jsonrpc": "2.0", "id": n, "method": method, "params": params}
                for n, (method, params) in enumerate(wanted[start : start + MAX_BATCH])
            ]
        )
        headers = {"Content-Type": "application/json"}
        async with session.post(url, data=body, headers=headers) as response:
            await response.read()
    return len(numbers) * (1 + LOGS) if receipts else len(numbers)


def _figures(taken: ratios.Rounds) -> dict[str, Any]:
    result = taken.per_second("blocks")
    for ours, peer in (
        ("both ours", "tokens web3 events"),
        ("both ours", "tokens web3 get_logs"),
        ("both ours", "both node"),
        ("coins ours", "coins web3"),
        ("coins ours", "coins node"),
    ):
        result |= taken.faster(ours, peer)
    return result


def _network(url: str, token: str) -> Network:
    return Network(
        name="bench", chain_id=31337, rpc_urls=(url,), native_asset="ETH", block_time_ms=1000,
        confirmations=1, finality="depth", logs_window=100, min_tip_wei=1, max_fee_wei=10**12,
        bump_percent=13, tokens=(Token(code="USDC", contract=token, decimals=6),),
    )  # fmt: skip

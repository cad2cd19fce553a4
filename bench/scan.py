"""Reading old blocks for deposits: ours, web3.py, and the node alone; and matching addresses.

One Anvil holds `BLOCKS` blocks, each with `LOGS` token transfers and one payment of coins; in each
tenth the tokens are for a watched address, in the others for a stranger that never comes again.
*tokens*: headers and logs, checked against each other as the scanner does, against web3.py's two
ways, which read logs and believe them. *coins*: full blocks. *both*: what the scanner reads when it
catches up, coins and tokens in one pass, with balances asked where tokens arrived. The node alone
is sent the same calls, as many at once, and its answers are not parsed. Matching is among 1,000,000
addresses.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp
import orjson
import uvloop
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from web3 import AsyncHTTPProvider, AsyncWeb3

from bench import ratios
from chain import parse
from chain.blocks import BLOOM_BYTES, BlockRef, Log, parse_ref
from chain.client import BLOCKS_A_REQUEST, ChainClient
from chain.dev import DevNode
from chain.lanes import in_lanes, split
from chain.observe import TRANSFER_TOPIC, Transfer, Watched, native_candidates, transfer_in
from chain.ranges import logs_that_matter, logs_told
from chain.registry import Network, Token
from chain.rpc import Rpc
from chain.testing import AnvilProcess
from chain.told import GET_BLOCK
from chain.window import Window
from contracts.loader import artifact
from wallet.deposits.backfill import ranges
from wallet.processes import collect_seldom

BLOCKS = 5_000
LOGS = 10
PAID_EVERY = 10  # blocks
RANGE = 100  # blocks, as the scanner
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
    return {**_matching(), **uvloop.run(_measure(rounds))}


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
    collect_seldom()  # as a worker does
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
                "tokens ours": lambda: _our_tokens(client, numbers, watched),
                "tokens web3 events": lambda: _by_events(web3, token, numbers),
                "tokens web3 get_logs": lambda: _by_logs(web3, token, numbers),
                "tokens node": lambda: _bare(session, process.url, numbers, full=False),
                "coins ours": lambda: _our_coins(client, numbers, watched),
                "coins web3": lambda: _web3_coins(web3, numbers),
                "coins node": lambda: _bare(session, process.url, numbers, logs=False),
                "both ours": lambda: _ours(client, numbers, watched),
                "both node": lambda: _bare(session, process.url, numbers),
            }
            for _ in range(rounds):
                for name, read in sides.items():
                    found = await taken.take(name, read, items=BLOCKS)
                    assert found in (None, _expected(name)), (name, found)
            await provider.disconnect()
    finally:
        await rpc.aclose()
        process.stop()
    return _figures(taken)


def _expected(name: str) -> int:
    """Deposits to be found; web3.py's ways of tokens find the strangers', too."""
    tokens = BLOCKS * LOGS if "web3" in name else BLOCKS // PAID_EVERY * LOGS
    return {"tokens": tokens, "coins": BLOCKS, "both": tokens + BLOCKS}[name.split()[0]]


async def _fill(rpc: Rpc, dev: DevNode, token: str) -> None:
    """Blocks with LOGS transfers of the token and one payment of coins each."""
    spray = await dev.deploy(artifact("ManyTransfers"))
    selector = bytes(keccak(text="spray(address,address,uint256,uint256)")[:4])
    await rpc.call("evm_setAutomine", (False,))
    for number in range(BLOCKS):
        payee = "0x" + os.urandom(20).hex() if number % PAID_EVERY else TO
        data = encode(["address", "address", "uint256", "uint256"], [token, payee, 7, LOGS])
        await dev.call_contract(spray, selector + data, gas=2_000_000)
        await dev.send_native(TO, 1)
        await dev.mine(1)


async def _ours(client: ChainClient, numbers: list[int], watched: Watched) -> int:
    found = 0
    pieces = ranges(client, Window(RANGE), first=numbers[0], last=numbers[-1])
    async for piece in pieces:
        deposits = await client.range_deposits(piece, watched=watched)
        found += sum(map(len, deposits.values()))
    return found


async def _our_tokens(client: ChainClient, numbers: list[int], watched: Watched) -> int:
    """The part of `chain.ranges` that is for tokens, over headers instead of full blocks."""
    tokens = {token.contract.lower() for token in client.network.tokens}

    async def some(part: Sequence[int]) -> int:
        headers, told = await asyncio.gather(
            client.rpc.batch([(GET_BLOCK, (hex(n), False)) for n in part]),
            logs_told(client.rpc, part[0], part[-1]),
        )
        assert told is not None
        found = 0
        for header in headers:
            ref, places, bloom = _header(header)
            logs = logs_that_matter(
                ref, bloom, places, told[ref.hash], watched=watched, tokens=tokens
            )
            found += len(_deposits(logs, watched, client.network.tokens))
        return found

    return sum(await in_lanes(split(numbers, RANGE), some))


def _header(value: Any) -> tuple[BlockRef, dict[str, int], bytes]:
    ref, places = parse_ref(value), {name: n for n, name in enumerate(value.transactions)}
    return ref, places, parse.data(value.logs_bloom, "logsBloom", length=BLOOM_BYTES)


def _deposits(logs: list[Log], watched: Watched, tokens: Sequence[Token]) -> list[Transfer]:
    transfers = [transfer_in(log, tokens) for log in logs]
    return [one for one in transfers if one is not None and one.to_address in watched]


async def _our_coins(client: ChainClient, numbers: list[int], watched: Watched) -> int:
    found = 0
    for block in await client.full_blocks(numbers):
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
    session: aiohttp.ClientSession,
    url: str,
    numbers: list[int],
    *,
    full: bool = True,
    logs: bool = True,
) -> None:
    """What the node itself can give, nothing read of the answer but its last byte."""
    wanted = [
        [("eth_getBlockByNumber", [hex(number), full]) for number in part]
        for part in split(numbers, BLOCKS_A_REQUEST if full else RANGE)
    ]
    if logs:
        wanted += [
            [("eth_getLogs", [{"fromBlock": hex(part[0]), "toBlock": hex(part[-1])}])]
            for part in split(numbers, RANGE)
        ]

    async def post(calls: list[tuple[str, list[Any]]]) -> None:
        body = orjson.dumps(
            [
                {"jsonrpc": "2.0", "id": n, "method": method, "params": params}
                for n, (method, params) in enumerate(calls)
            ]
        )
        headers = {"Content-Type": "application/json"}
        async with session.post(url, data=body, headers=headers) as response:
            await response.read()

    await in_lanes(wanted, post)


def _figures(taken: ratios.Rounds) -> dict[str, Any]:
    result = taken.per_second("blocks")
    for ours, peer in (
        ("tokens ours", "tokens web3 events"),
        ("tokens ours", "tokens web3 get_logs"),
        ("tokens ours", "tokens node"),
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

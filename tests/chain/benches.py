"""One bench for both nodes: the same client, dev node, token and key on Anvil and on FakeNode."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
from eth_account import Account

from chain.client import ChainClient
from chain.dev import DevNode
from chain.outcomes import SendKind
from chain.registry import Network, Token
from chain.rpc import Rpc
from chain.testing import AnvilMissing, AnvilProcess
from chain.transactions import TxFields, tx_hash
from contracts.loader import artifact

KEY = bytes([7]) * 32  # Made up; funded on throw-away chains only.
SIGNER: str = Account.from_key(KEY).address
OUTSIDER: str = Account.from_key(bytes([8]) * 32).address
USDC_SUPPLY = 10_000_000 * 10**6
FAKE_CONTRACT = "0x00000000000000000000000000000000000A11CE"


def local_network(contract: str | None = None, **changes: object) -> Network:
    """The sandbox's network, with USDC at `contract`."""
    tokens = () if contract is None else (Token("USDC", contract, 6),)
    network = Network(
        name="local",
        chain_id=31337,
        rpc_urls=("http://127.0.0.1:8545",),
        native_asset="ETH",
        block_time_ms=1000,
        confirmations=8,
        finality="depth",
        logs_window=100,
        min_tip_wei=10**6,
        max_fee_wei=500 * 10**9,
        bump_percent=13,
        tokens=tokens,
        local_snapshots=True,
    )
    return replace(network, **changes)  # type: ignore[arg-type]


def sign(fields: TxFields, key: bytes = KEY) -> bytes:
    """What eth-account makes of these fields: the reference for our own encoding."""
    request = {
        "type": 2, "chainId": fields.chain_id, "nonce": fields.nonce, "gas": fields.gas,
        "maxPriorityFeePerGas": fields.tip, "maxFeePerGas": fields.cap, "to": fields.to,
        "value": fields.value, "data": fields.data,
    }  # fmt: skip
    return bytes(Account.from_key(key).sign_transaction(request).raw_transaction)


@dataclass
class Bench:
    """A running node with a deployed USDC; SIGNER holds 100 ETH and 1,000 USDC."""

    kind: str
    rpc: Rpc
    client: ChainClient
    dev: DevNode
    usdc: str
    url: str | None

    async def hold_mining(self) -> None:
        """From here on only `dev.mine` makes blocks."""
        await self.rpc.call("evm_setAutomine", (False,))

    async def mined(self, tx_hash: str) -> str:
        """Anvil answers a send before it has mined it: wait, and hand the hash through."""
        await self.dev.wait_mined(tx_hash)
        return tx_hash

    async def send_native(self, to: str, wei: int) -> str:
        """The dev node's coins, mined."""
        return await self.mined(await self.dev.send_native(to, wei))

    async def send_token(self, to: str, amount_minor: int) -> str:
        """The dev node's USDC, mined."""
        return await self.mined(await self.dev.send_token(self.usdc, to, amount_minor))

    async def submit(self, raw: bytes) -> str:
        """Signed bytes, accepted and mined."""
        outcome = await self.client.send_raw(raw)
        assert outcome.kind is SendKind.ACCEPTED, outcome
        return await self.mined(tx_hash(raw))

    def payment(
        self, nonce: int, *, to: str = OUTSIDER, value: int = 10**15, **changes: int
    ) -> TxFields:
        """A native payment of SIGNER with generous fees."""
        fields = TxFields(31337, nonce, 10**9, 10 * 10**9, 21_000, to, value)
        return replace(fields, **changes)  # type: ignore[arg-type]


async def furnish(kind: str, rpc: Rpc, usdc: str, url: str | None) -> Bench:
    bench = Bench(kind, rpc, ChainClient(local_network(usdc), rpc), DevNode(rpc), usdc, url)
    await bench.send_native(SIGNER, 100 * 10**18)
    await bench.send_token(SIGNER, 1_000 * 10**6)
    return bench


async def anvil_bench() -> AsyncIterator[Bench]:
    """A bench on an Anvil of its own; skips by name when there is none."""
    process = AnvilProcess()
    try:
        process.start()
    except AnvilMissing as error:
        pytest.skip(f"anvil: {error}")
    rpc = process.rpc()
    try:
        dev = DevNode(rpc)
        owner = (await dev.accounts())[0]
        usdc = await dev.deploy(artifact("TestToken"), ["USD Coin", "USDC", 6, USDC_SUPPLY, owner])
        yield await furnish("anvil", rpc, usdc, process.url)
    finally:
        await rpc.aclose()
        process.stop()

"""This room's tests stand on the whole seam, behind a node whose words can be meddled with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from chain.blocks import Receipt
from chain.client import ChainClient
from chain.rpc import JsonRpc
from contracts.loader import artifact
from tests.seam_fixtures import db, seam
from wallet.deposits import Scanner, SurplusFinder
from wallet.monitor import vitals
from wallet.onchain import NetworkObserver
from wallet.testing.meddler import Meddler
from wallet.testing.seam import Seam

__all__ = ["db", "seam"]
RELAY = "0x00000000000000000000000000000000004e1a70"


def call_data(signature: str, *args: Any) -> bytes:
    """Call data of `name(type,…)`."""
    types = signature[signature.index("(") + 1 : -1].split(",")
    return bytes(keccak(text=signature)[:4] + encode(types, list(args)))


def code_that_calls(calls: Sequence[tuple[str, bytes]]) -> str:
    """Code of a contract that makes these calls (to, data), one after the other."""
    code = b""
    for to, data in calls:
        for at in range(0, len(data), 32):
            word = data[at : at + 32].ljust(32, b"\0")
            code += b"\x7f" + word + b"\x61" + at.to_bytes(2, "big") + b"\x52"  # MSTORE
        nothing = b"\x60\x00"
        code += nothing * 2 + b"\x61" + len(data).to_bytes(2, "big") + nothing * 2
        code += b"\x73" + bytes.fromhex(to[2:]) + b"\x5a\xf1\x50"  # GAS CALL POP
    return "0x" + code.hex()


@dataclass
class Inbox:
    """A person with an address and no money, and what arrives there."""

    seam: Seam
    meddler: Meddler
    ada: str
    address: str

    def stand(self) -> None:
        """The worker of now, behind the meddler."""
        seam = self.seam
        seam.chain = ChainClient(seam.network, self.meddler)
        seam.observer = NetworkObserver(seam.db, seam.chain)
        seam.scanner = Scanner(seam.db, seam.chain, seam.assets)
        seam.runner = seam.new_runner()

    @property
    def finder(self) -> SurplusFinder:
        return SurplusFinder(self.seam.db, self.seam.chain, self.seam.assets, self.seam.deriver)

    async def deploy(self, name: str, *args: Any) -> str:
        return await self.seam.dev.deploy(artifact(name), args)

    async def call(
        self, contract: str, signature: str, *args: Any, wei: int = 0, gas: int | None = None
    ) -> Receipt:
        data = call_data(signature, *args)
        tx = await self.seam.dev.call_contract(contract, data, wei=wei, gas=gas)
        return await self.seam.dev.wait_mined(tx)

    async def pay_together(self, *paid: tuple[str, int]) -> Receipt:
        """One transaction with a transfer of USDC to each of these: (address, smallest units)."""
        token = self.seam.network.tokens[0].contract
        pay = "transfer(address,uint256)"
        code = code_that_calls([(token, call_data(pay, to, minor)) for to, minor in paid])
        await self.seam.node("anvil_setCode", RELAY, code)
        await self.seam.pay_in(RELAY, "100", "USDC")
        await self.seam.pass_once()
        tx = await self.seam.dev.call_contract(RELAY, b"", gas=1_000_000)
        return await self.seam.dev.wait_mined(tx)

    async def total(self, asset: str, who: str | None = None) -> int:
        return (await self.seam.balance(who or self.ada, asset)).total_minor

    async def rows(self) -> list[tuple[str, str, int, str | None]]:
        """(asset, status, amount, reason) of everything that arrived for people."""
        found = await self.seam.rows(
            "SELECT asset, status, amount_minor, reason FROM deposits"
            " WHERE principal_id IS NOT NULL ORDER BY block_number, log_index"
        )
        return [(r.asset, r.status, int(r.amount_minor), r.reason) for r in found]

    async def gaps(self) -> int:
        async with self.seam.db.transaction() as session:
            return (await vitals(session)).networks[0].scanner_gaps


@pytest.fixture
async def inbox(seam: Seam) -> Inbox:
    ada = await seam.person()
    rpc = JsonRpc(seam.url, timeout_seconds=2.0)
    seam.opened.append(rpc)
    inbox = Inbox(seam, Meddler(rpc), ada, await seam.address(ada))
    inbox.stand()
    return inbox

"""Calls of the sweeping contracts, and what their receipts say moved."""

from __future__ import annotations

from collections.abc import Container, Sequence

from eth_utils.crypto import keccak

from chain.abi import encode
from chain.blocks import Receipt
from chain.observe import transfer_in
from chain.registry import Network

ZERO_ADDRESS = "0x" + "0" * 40
_SWEEP = keccak(text="sweep(address[],address)")[:4]
_FLUSH = keccak(text="flushEphemeral(bytes32[],address[])")[:4]
_NATIVE_SWEPT = "0x" + keccak(text="NativeSwept(address,uint256)").hex()
_WORD = 32


def sweep_call(accounts: Sequence[str], contract: str) -> bytes:
    """`SweepBatch.sweep`: one token of many delegated addresses."""
    return bytes(_SWEEP + encode(["address[]", "address"], [list(accounts), contract]))


def flush_call(salts: Sequence[bytes], contracts: Sequence[str]) -> bytes:
    """`ForwarderFactory.flushEphemeral`: tokens and the native coin of many key-less addresses."""
    return bytes(_FLUSH + encode(["bytes32[]", "address[]"], [list(salts), list(contracts)]))


def swept(
    receipt: Receipt, network: Network, *, accounts: Container[str], treasury: str
) -> dict[tuple[str, str], int]:
    """(address in lower case, asset) → how much went to the treasury, in minor units.

    `accounts` in lower case. Tokens by their own Transfer logs, coins by `NativeSwept`, which only
    the address itself can emit.
    """
    coins = swept_coins(receipt, network.native_asset)
    moved = {key: minor for key, minor in coins.items() if key[0] in accounts}
    for log in receipt.logs:
        transfer = transfer_in(log, network.tokens)
        if (
            transfer is not None
            and transfer.from_address in accounts
            and transfer.to_address == treasury.lower()
        ):
            key = (transfer.from_address, transfer.token.code)
            moved[key] = moved.get(key, 0) + transfer.amount
    return moved


def swept_coins(receipt: Receipt, native: str) -> dict[tuple[str, str], int]:
    """(emitter in lower case, native asset) → wei, of every `NativeSwept`. Anybody can emit one:
    it means something from an address of ours only."""
    moved: dict[tuple[str, str], int] = {}
    for log in receipt.logs:
        if log.topics[:1] == (_NATIVE_SWEPT,) and len(log.data) >= _WORD:
            key = (log.address.lower(), native)
            moved[key] = moved.get(key, 0) + int.from_bytes(log.data[-_WORD:], "big")
    return moved

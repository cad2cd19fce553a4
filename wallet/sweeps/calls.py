"""Calls of the sweeping contracts, and what their receipts say moved."""

from __future__ import annotations

from collections.abc import Container, Sequence

from eth_utils.crypto import keccak

from chain.abi import encode
from chain.blocks import Receipt
from chain.observe import coins_swept_in, transfer_in
from chain.registry import Network

ABSURD = 10**60
"""A token that says it moved so much lies; a few such sums are more than the books can write."""
ZERO_ADDRESS = "0x" + "0" * 40
_SWEEP = keccak(text="sweep(address[],address)")[:4]
_FLUSH = keccak(text="flushEphemeral(bytes32[],address[])")[:4]


def sweep_call(accounts: Sequence[str], contract: str) -> bytes:
    """`SweepBatch.sweep`: one token of many delegated addresses; ZERO_ADDRESS: their coins."""
    return bytes(_SWEEP + encode(["address[]", "address"], [list(accounts), contract]))


def flush_call(salts: Sequence[bytes], contracts: Sequence[str]) -> bytes:
    """`ForwarderFactory.flushEphemeral`: tokens and the native coin of many key-less addresses."""
    return bytes(_FLUSH + encode(["bytes32[]", "address[]"], [list(salts), list(contracts)]))


def swept(
    receipt: Receipt, network: Network, *, accounts: Container[str], treasury: str
) -> dict[tuple[str, str], int]:
    """(address in lower case, asset) → how much went to the treasury, in minor units.

    `accounts` in lower case. Tokens by their own Transfer logs, coins by `NativeSwept`, which only
    the address itself can emit. Absurd amounts moved nothing.
    """
    moved: dict[tuple[str, str], int] = {}
    for log in receipt.logs:
        wei = coins_swept_in(log)
        if wei and log.address in accounts:
            key = (log.address, network.native_asset)
            moved[key] = moved.get(key, 0) + wei
        transfer = transfer_in(log, network.tokens)
        if (
            transfer is not None
            and transfer.from_address in accounts
            and transfer.to_address == treasury.lower()
            and transfer.amount < ABSURD
        ):
            key = (transfer.from_address, transfer.token.code)
            moved[key] = moved.get(key, 0) + transfer.amount
    return moved

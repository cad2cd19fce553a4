"""What the fake node reads out of a deployment: contracts' TestToken and BatchPayout."""

from __future__ import annotations

import functools

import rlp
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_hash.auto import keccak

from chain.testing.fake_calls import FakePayout, FakeToken
from contracts.loader import artifact


@functools.cache
def _bytecode(name: str) -> bytes:
    return artifact(name).bytecode


def deployed(data: bytes, *, sender: str, nonce: int) -> FakeToken | FakePayout | None:
    """What this creation makes at the address which sender and nonce give it; None for any other
    contract."""
    packed = rlp.encode([bytes.fromhex(sender[2:]), nonce])  # EVM's CREATE
    address = "0x" + keccak(packed)[-20:].hex()
    token, payout = _bytecode("TestToken"), _bytecode("BatchPayout")
    try:
        if data.startswith(token):
            types = ["string", "string", "uint8", "uint256", "address"]
            _, _, decimals, supply, owner = decode(types, data[len(token) :])
            return FakeToken(address, int(decimals), int(supply), str(owner).lower())
        if data.startswith(payout):
            owner, _cold = decode(["address", "address"], data[len(payout) :])
            return FakePayout(address, str(owner).lower())
    except DecodingError:
        return None
    return None

"""What the fake node reads out of a deployment: contracts' TestToken, and nothing else."""

from __future__ import annotations

import functools

import rlp
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_hash.auto import keccak

from chain.testing.fake_chain import FakeToken
from contracts.loader import artifact

_CONSTRUCTOR = ("string", "string", "uint8", "uint256", "address")


@functools.cache
def _bytecode() -> bytes:
    return artifact("TestToken").bytecode


def deployed_token(data: bytes, *, sender: str, nonce: int) -> FakeToken | None:
    """The token that this creation makes at the address which sender and nonce give it; None for
    any other contract."""
    if not data.startswith(_bytecode()):
        return None
    try:
        _, _, decimals, supply, owner = decode(_CONSTRUCTOR, data[len(_bytecode()) :])
    except DecodingError:
        return None
    packed = rlp.encode([bytes.fromhex(sender[2:]), nonce])  # EVM's CREATE
    address = "0x" + keccak(packed)[-20:].hex()
    return FakeToken(address, int(decimals), int(supply), str(owner).lower())

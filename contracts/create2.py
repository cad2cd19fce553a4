"""Key-less deposit addresses, computed without a node and without a key.

EIP-1014: `keccak256(0xff ‖ factory ‖ salt ‖ keccak256(init code))[12:]`. The init code of a clone
is EIP-1167's, as OpenZeppelin's `Clones` writes it. A test compares both kinds with the contracts.
"""

from __future__ import annotations

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from contracts.loader import artifact

_CLONE_HEAD = bytes.fromhex("3d602d80600a3d3981f3363d3d373d3d3d363d73")
_CLONE_TAIL = bytes.fromhex("5af43d82803e903d91602b57fd5bf3")
_SALT_BYTES = 32


def salt_of(network: str, index: int) -> bytes:
    """The salt of deposit address `index` (from 0) on a network: nobody else's, for ever."""
    if type(index) is not int or index < 0:
        raise ValueError("an index is a whole number from 0")
    return keccak(text=f"bifold-deposit-v1|{network}|{index}")


def create2_address(factory: str, salt: bytes, init_code: bytes) -> str:
    """The EIP-55 address that `factory` gives code deployed with `salt` (32 bytes)."""
    if len(salt) != _SALT_BYTES:
        raise ValueError("a salt has 32 bytes")
    digest = keccak(b"\xff" + bytes.fromhex(factory[2:]) + salt + keccak(init_code))
    return str(to_checksum_address(digest[12:]))


def clone_address(factory: str, implementation: str, salt: bytes) -> str:
    """`ForwarderFactory.addressOf(salt)`."""
    code = _CLONE_HEAD + bytes.fromhex(implementation[2:]) + _CLONE_TAIL
    return create2_address(factory, salt, code)


def ephemeral_address(factory: str, salt: bytes) -> str:
    """`ForwarderFactory.ephemeralAddressOf(salt)`."""
    return create2_address(factory, salt, artifact("EphemeralForwarder").bytecode)

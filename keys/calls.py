"""Contract calls that the signer understands, each read back to the byte.

ABI: https://docs.soliditylang.org/en/latest/abi-spec.html. What does not encode again to the very
same bytes is no call: two readers of padded or overlapping data could see two different payments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError, EncodingError
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

NATIVE: Final = "native"
SELECTOR_BYTES: Final = 4
TRANSFER_BYTES: Final = 68
TRANSFER: Final = ("address", "uint256")
APPROVE: Final = ("address", "uint256")
PAY_TOKEN: Final = ("bytes32", "address", "(address,uint256,bytes32)[]")
PAY_NATIVE: Final = ("bytes32", "(address,uint256,bytes32)[]")
SWEEP: Final = ("address[]", "address")
FLUSH: Final = ("bytes32[]", "address[]")


@lru_cache(maxsize=1024)
def eip55(address: bytes | str) -> str:
    """With its checksum; remembered, since most calls go to the same few contracts."""
    return str(to_checksum_address(address))


def selector(name: str, types: Sequence[str]) -> bytes:
    """The first four bytes of the hash of a function's signature."""
    return bytes(keccak(text=f"{name}({','.join(types)})")[:SELECTOR_BYTES])


TRANSFER_SELECTOR: Final = selector("transfer", TRANSFER)
APPROVE_SELECTOR: Final = selector("approve", APPROVE)
PAY_TOKEN_SELECTOR: Final = selector("payToken", PAY_TOKEN)
PAY_NATIVE_SELECTOR: Final = selector("payNative", PAY_NATIVE)
SWEEP_SELECTOR: Final = selector("sweep", SWEEP)
FLUSHES: Final = tuple((selector(name, FLUSH), FLUSH) for name in ("flush", "flushEphemeral"))


def transfer_in(data: bytes) -> tuple[bytes, int] | None:
    """Recipient and amount of `transfer(address,uint256)`; None for anything else. The commonest
    call, read by its fixed places: nothing else encodes to these 68 bytes."""
    if len(data) != TRANSFER_BYTES or data[:SELECTOR_BYTES] != TRANSFER_SELECTOR:
        return None
    if any(data[SELECTOR_BYTES : SELECTOR_BYTES + 12]):
        return None
    return data[SELECTOR_BYTES + 12 : SELECTOR_BYTES + 32], int.from_bytes(data[-32:], "big")


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch payout: `asset` is `native` or the token's EIP-55 contract; recipients EIP-55,
    amounts in its smallest unit."""

    asset: str
    payments: tuple[tuple[str, int], ...]


def arguments(data: bytes, expected: bytes, types: Sequence[str]) -> tuple[Any, ...] | None:
    """The decoded arguments of a call with this selector; None for anything else."""
    if data[:SELECTOR_BYTES] != expected:
        return None
    body = data[SELECTOR_BYTES:]
    try:
        values = tuple(decode(list(types), body, strict=True))
        return values if encode(list(types), values) == body else None
    except (DecodingError, EncodingError, OverflowError, ValueError, TypeError):
        return None


def batch_in(data: bytes) -> Batch | None:
    """The payments of a call of `BatchPayout`, or None."""
    asset, values = NATIVE, arguments(data, PAY_NATIVE_SELECTOR, PAY_NATIVE)
    if values is None:
        values = arguments(data, PAY_TOKEN_SELECTOR, PAY_TOKEN)
        if values is None:
            return None
        asset = str(to_checksum_address(values[1]))
    return Batch(
        asset, tuple((str(to_checksum_address(to)), int(amount)) for to, amount, _ in values[-1])
    )

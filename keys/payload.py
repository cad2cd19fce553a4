"""Unsigned EIP-1559 bytes, decoded by the signer itself. Nothing but type 2 is understood.

Standards: https://eips.ethereum.org/EIPS/eip-1559 and EIP-2718. Decoding is strict: what is read
here encodes back to the very same bytes, so that no two readers see two different transactions.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import rlp
from rlp.exceptions import RLPException

from keys.errors import SignerRefused
from keys.request import MAX_PAYLOAD_BYTES

TYPE_2: Final = 0x02
UNSIGNED_FIELDS: Final = 9
ADDRESS_BYTES: Final = 20
MAX_UINT256: Final = 2**256 - 1
MAX_NONCE: Final = 2**64 - 2
"""EIP-2681."""


@dataclass(frozen=True, slots=True)
class UnsignedTx:
    """The fields of one unsigned EIP-1559 transaction; fees and value in wei."""

    chain_id: int
    nonce: int
    tip: int
    cap: int
    gas: int
    to: bytes
    value: int
    data: bytes

    def encode(self) -> bytes:
        """`0x02 || rlp([...])` with an empty access list."""
        return bytes([TYPE_2]) + encode_list(self.fields())

    def fields(self) -> list[Any]:
        """The nine fields in the standard's order, ready for RLP."""
        numbers = [self.chain_id, self.nonce, self.tip, self.cap, self.gas]
        return [*map(integer, numbers), self.to, integer(self.value), self.data, []]

    def body_hash(self) -> str:
        """SHA-256 over all fields but the two fees: equal for a payment and its fee bumps."""
        numbers = f"{self.chain_id}|{self.nonce}|{self.gas}|{self.value}"
        text = f"{numbers}|{self.to.hex()}|{self.data.hex()}"
        return hashlib.sha256(text.encode("ascii")).hexdigest()


def integer(value: int) -> bytes:
    """The shortest big-endian bytes of a non-negative number, as RLP wants them."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def encode_list(fields: list[Any]) -> bytes:
    """RLP of a list of byte strings and lists."""
    return bytes(rlp.encode(fields))


def decode_list(encoded: bytes) -> list[Any] | None:
    """The list in strict RLP, or None when the bytes are not exactly one list."""
    try:
        fields = rlp.decode(encoded, strict=True)
    except (RLPException, RecursionError):
        return None
    return list(fields) if isinstance(fields, list | tuple) else None


def decode_unsigned(payload: bytes) -> UnsignedTx:
    """Decode unsigned bytes. Raises `SignerRefused` with reason `unsupported_type` (legacy, raw
    hashes, type 1, 3, 4) or `malformed_payload`."""
    if not payload or payload[0] != TYPE_2:
        raise SignerRefused("unsupported_type", "only EIP-1559 transactions are signed")
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise SignerRefused("malformed_payload", "too long")
    tx = _from_fields(decode_list(payload[1:]))
    if tx is None or tx.encode() != payload:
        raise SignerRefused("malformed_payload", "not a canonical unsigned EIP-1559 transaction")
    return tx


def _from_fields(fields: list[Any] | None) -> UnsignedTx | None:
    """The fields as numbers and bytes; None when a shape or a range is wrong."""
    if fields is None or len(fields) != UNSIGNED_FIELDS or fields[8] not in ([], ()):
        return None
    if any(not isinstance(field, bytes) for field in fields[:8]):
        return None
    chain_id, nonce, tip, cap, gas, value = (
        int.from_bytes(fields[i], "big") for i in (0, 1, 2, 3, 4, 6)
    )
    if nonce > MAX_NONCE or max(chain_id, tip, cap, gas, value) > MAX_UINT256:
        return None
    return UnsignedTx(chain_id, nonce, tip, cap, gas, to=fields[5], value=value, data=fields[7])

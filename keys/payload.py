"""Unsigned bytes, decoded by the signer itself: EIP-1559 (type 2), and EIP-7702 (type 4).

Standards: https://eips.ethereum.org/EIPS/eip-1559, eip-7702 and eip-2718. Decoding is strict: what
is read here encodes back to the very same bytes, so that no two readers see two different
transactions. Nothing else is understood, above all no bare hash.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

import rlp
from eth_utils.crypto import keccak
from rlp.exceptions import RLPException

from keys.errors import SignerRefused
from keys.request import MAX_PAYLOAD_BYTES

TYPE_2: Final = 0x02
TYPE_4: Final = 0x04
AUTHORIZATION_MAGIC: Final = b"\x05"
UNSIGNED_FIELDS: Final = 9
AUTHORIZATION_FIELDS: Final = 6
ADDRESS_BYTES: Final = 20
MAX_UINT256: Final = 2**256 - 1
MAX_NONCE: Final = 2**64 - 2
"""EIP-2681."""


@dataclass(frozen=True, slots=True)
class Authorization:
    """One signed EIP-7702 authorisation: its signer's code becomes that of `delegate`."""

    chain_id: int
    delegate: bytes
    nonce: int
    parity: int
    r: int
    s: int

    def fields(self) -> list[Any]:
        """As the standard's tuple, ready for RLP."""
        head = [integer(self.chain_id), self.delegate, integer(self.nonce)]
        return [*head, integer(self.parity), integer(self.r), integer(self.s)]

    def message(self) -> bytes:
        """What its signer hashes."""
        return authorization_message(self.chain_id, self.delegate, self.nonce)


def authorization_message(chain_id: int, delegate: bytes, nonce: int) -> bytes:
    """`0x05 || rlp([chain_id, address, nonce])`: the message of an authorisation, to be hashed."""
    return AUTHORIZATION_MAGIC + encode_list([integer(chain_id), delegate, integer(nonce)])


@dataclass(frozen=True, slots=True)
class UnsignedTx:
    """The fields of one unsigned transaction; fees and value in wei. With `authorizations` it is of
    type 4, without of type 2."""

    chain_id: int
    nonce: int
    tip: int
    cap: int
    gas: int
    to: bytes
    value: int
    data: bytes
    authorizations: tuple[Authorization, ...] = ()
    encoded: bytes = field(init=False, repr=False, compare=False)
    """The type and `rlp([...])` with an empty access list."""
    digest: bytes = field(init=False, repr=False, compare=False)
    """Keccak-256 of `encoded`: what is signed."""

    def __post_init__(self) -> None:
        encoded = bytes([self.type]) + encode_list(self.fields())
        object.__setattr__(self, "encoded", encoded)
        object.__setattr__(self, "digest", bytes(keccak(encoded)))

    @property
    def type(self) -> int:
        """Its EIP-2718 type."""
        return TYPE_4 if self.authorizations else TYPE_2

    def encode(self) -> bytes:
        """See `encoded`."""
        return self.encoded

    def fields(self) -> list[Any]:
        """The nine or ten fields in the standard's order, ready for RLP."""
        numbers = [self.chain_id, self.nonce, self.tip, self.cap, self.gas]
        fields: list[Any] = [*map(integer, numbers), self.to, integer(self.value), self.data, []]
        if self.authorizations:
            fields.append([item.fields() for item in self.authorizations])
        return fields

    def body_hash(self) -> str:
        """SHA-256 over all fields but the two fees: equal for a payment and its fee bumps."""
        numbers = f"{self.chain_id}|{self.nonce}|{self.gas}|{self.value}"
        text = f"{numbers}|{self.to.hex()}|{self.data.hex()}"
        if self.authorizations:
            text += f"|{encode_list([item.fields() for item in self.authorizations]).hex()}"
        return hashlib.sha256(text.encode("ascii")).hexdigest()


def integer(value: int) -> bytes:
    """The shortest big-endian bytes of a non-negative number, as RLP wants them."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def encode_list(fields: list[Any]) -> bytes:
    """RLP of a list of byte strings and lists."""
    return bytes(rlp.encode(fields, infer_serializer=False))


def decode_list(encoded: bytes) -> list[Any] | None:
    """The list in strict RLP, or None when the bytes are not exactly one list."""
    try:
        fields = rlp.decode(encoded, strict=True)
    except (RLPException, RecursionError):
        return None
    return list(fields) if isinstance(fields, list | tuple) else None


def decode_unsigned(payload: bytes) -> UnsignedTx:
    """Decode unsigned bytes. Raises `SignerRefused` with reason `unsupported_type` (legacy, raw
    hashes, type 1, 3) or `malformed_payload`."""
    if not payload or payload[0] not in (TYPE_2, TYPE_4):
        raise SignerRefused("unsupported_type", "only EIP-1559 and EIP-7702 transactions")
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise SignerRefused("malformed_payload", "too long")
    tx = _from_fields(decode_list(payload[1:]), delegating=payload[0] == TYPE_4)
    if tx is None or tx.encode() != payload:
        raise SignerRefused("malformed_payload", "not a canonical unsigned transaction")
    return tx


def _from_fields(fields: list[Any] | None, *, delegating: bool) -> UnsignedTx | None:
    """The fields as numbers and bytes; None when a shape or a range is wrong."""
    if fields is None or len(fields) != UNSIGNED_FIELDS + delegating or fields[8] not in ([], ()):
        return None
    if any(not isinstance(field, bytes) for field in fields[:8]):
        return None
    chain_id, nonce, tip, cap, gas, value = (
        int.from_bytes(fields[i], "big") for i in (0, 1, 2, 3, 4, 6)
    )
    if nonce > MAX_NONCE or max(chain_id, tip, cap, gas, value) > MAX_UINT256:
        return None
    authorizations = _authorizations(fields[9]) if delegating else ()
    if authorizations is None or delegating != bool(authorizations):
        return None
    return UnsignedTx(chain_id, nonce, tip, cap, gas, fields[5], value, fields[7], authorizations)


def _authorizations(items: Any) -> tuple[Authorization, ...] | None:
    if not isinstance(items, list | tuple):
        return None
    found = []
    for item in items:
        if not isinstance(item, list | tuple) or len(item) != AUTHORIZATION_FIELDS:
            return None
        if any(not isinstance(field, bytes) or len(field) > 32 for field in item):
            return None
        chain_id, nonce, parity, r, s = (int.from_bytes(item[i], "big") for i in (0, 2, 3, 4, 5))
        if parity > 1 or len(item[1]) != ADDRESS_BYTES or nonce > MAX_NONCE:
            return None
        found.append(Authorization(chain_id, item[1], nonce, parity, r, s))
    return tuple(found)

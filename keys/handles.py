"""A key that is used and never seen: in an HSM, in a cloud's KMS, or here in memory.

Who signs a digest answers r and s; the parity is found by recovery and s is brought below half the
curve's order (EIP-2). What a device answers is checked against its public key before it is used.
"""

from __future__ import annotations

from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key
from eth_keys.datatypes import PublicKey, Signature
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError

from keys.errors import KeysError, SignerRefused

CURVE_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
DIGEST_BYTES: Final = 32
POINT_BYTES: Final = 65
Vrs = tuple[int, int, int]
"""Parity (0 or 1), r and low s."""


class KeyDeviceFailed(KeysError):
    """The device that holds the key did not answer, or answered something else. Ask again."""

    code = "key_device_failed"


class KeyHandle(Protocol):
    """One key that signs digests."""

    @property
    def address(self) -> str:
        """Its EIP-55 address."""
        ...

    def sign_digest(self, digest: bytes) -> Vrs:
        """Sign 32 bytes. Raises `KeyDeviceFailed`; `SignerRefused` for a wrong signature."""
        ...


def address_of_point(point: bytes) -> str:
    """The EIP-55 address of an uncompressed public key (65 bytes, 0x04 first)."""
    if len(point) != POINT_BYTES or point[0] != 4:
        raise KeyDeviceFailed("the device's public key is not an uncompressed point")
    return str(PublicKey(point[1:]).to_checksum_address())


def point_of_der(encoded: bytes) -> bytes:
    """The uncompressed point of a DER SubjectPublicKeyInfo, which must be of secp256k1."""
    try:
        key = load_der_public_key(encoded)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyDeviceFailed("the device's public key cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256k1":
        raise KeyDeviceFailed("the device's key is not of secp256k1")
    numbers = key.public_numbers()
    return b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def parse_der(signature: bytes) -> tuple[int, int]:
    """r and s of a DER signature. Raises `KeyDeviceFailed`."""
    try:
        return decode_dss_signature(signature)
    except (ValueError, InvalidSignature) as error:
        raise KeyDeviceFailed("the device's signature cannot be read") from error


def canonical(address: str, digest: bytes, r: int, s: int) -> Vrs:
    """The one form of the signature that Ethereum takes. Raises `SignerRefused` when it is not by
    `address` over `digest`."""
    low = min(s, CURVE_ORDER - s)
    for parity in (0, 1):
        try:
            key = Signature(vrs=(parity, r, low)).recover_public_key_from_msg_hash(digest)
        except (BadSignature, ValidationError, ValueError, TypeError):
            continue
        if key.to_checksum_address() == address:
            return parity, r, low
    raise SignerRefused("signing_failed", "the device signed something else")

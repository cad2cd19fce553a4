"""Who signed a text: EIP-191 "personal" messages as browser wallets make them."""

from __future__ import annotations

from typing import Final

from eth_hash.auto import keccak
from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError

from keys.request import MAX_APPROVALS, SIGNATURE_BYTES

HALF_CURVE_ORDER: Final = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_PARITY: Final = {0: 0, 1: 1, 27: 0, 28: 1}


def personal_digest(message: str) -> bytes:
    """The 32 bytes that a wallet signs for `message` (`personal_sign`, EIP-191 version 0x45)."""
    body = message.encode("utf-8")
    return keccak(b"\x19Ethereum Signed Message:\n" + str(len(body)).encode() + body)


def recover_personal(message: str, signature: str) -> str | None:
    """As `signer_of`; `signature`: `0x` and 65 bytes as text."""
    try:
        raw = bytes.fromhex(signature.removeprefix("0x"))
    except ValueError:
        return None
    return signer_of(message, raw) if signature.startswith("0x") else None


def signer_of(message: str, raw: bytes) -> str | None:
    """The EIP-55 address whose key signed `message`; None for anything that is no signature.

    `raw`: r ‖ s ‖ v with v 27 or 28 (some wallets say 0 or 1). A high s is refused: the mirrored
    signature of somebody else's would be a second one.
    """
    if len(raw) != SIGNATURE_BYTES or raw[64] not in _PARITY:
        return None
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:64], "big")
    if not 0 < s <= HALF_CURVE_ORDER:
        return None
    try:
        key = Signature(vrs=(_PARITY[raw[64]], r, s)).recover_public_key_from_msg_hash(
            personal_digest(message)
        )
    except (BadSignature, ValidationError, ValueError):
        return None
    return str(key.to_checksum_address())


def signers_of(message: str, signatures: bytes) -> list[str | None]:
    """Who signed `message`, signature by signature; None for what is none. `signatures`: 65 bytes
    each, one behind the other, `MAX_APPROVALS` at most."""
    if len(signatures) % SIGNATURE_BYTES or len(signatures) > MAX_APPROVALS * SIGNATURE_BYTES:
        return [None]
    starts = range(0, len(signatures), SIGNATURE_BYTES)
    return [signer_of(message, signatures[at : at + SIGNATURE_BYTES]) for at in starts]

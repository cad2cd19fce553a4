"""Which operators signed a text that names one payment (EIP-191, as wallets sign)."""

from __future__ import annotations

from typing import Final

from eth_account import Account
from eth_account.messages import encode_defunct
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError

from keys.request import MAX_APPROVALS, SIGNATURE_BYTES

HALF_CURVE_ORDER: Final = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


def approver(message: str, signature: bytes) -> str | None:
    """The EIP-55 address that signed `message` by EIP-191 (65 bytes, low s), or None."""
    if len(signature) != SIGNATURE_BYTES:
        return None
    if int.from_bytes(signature[32:64], "big") > HALF_CURVE_ORDER:
        return None
    try:
        signer = Account.recover_message(encode_defunct(text=message), signature=signature)
    except (BadSignature, ValidationError, ValueError, TypeError):
        return None
    return str(signer)


def approvers(message: str, signatures: bytes) -> list[str | None]:
    """Who signed `message`, signature by signature; None for what is none. `signatures`: 65 bytes
    each, one behind the other, `MAX_APPROVALS` at most."""
    if len(signatures) % SIGNATURE_BYTES or len(signatures) > MAX_APPROVALS * SIGNATURE_BYTES:
        return [None]
    starts = range(0, len(signatures), SIGNATURE_BYTES)
    return [approver(message, signatures[at : at + SIGNATURE_BYTES]) for at in starts]

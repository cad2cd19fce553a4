"""Boxes that a browser seals for the signer, so that whoever carries them reads nothing.

X25519 agreement with a fresh key of the sender, HKDF-SHA256, AES-256-GCM. What a box is for
(purpose, person, request) is bound into it: one box cannot be used for another. A reply to the same
sender is sealed under a second key of that agreement. RFC 7748, RFC 5869; browsers use WebCrypto.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keys.errors import SignerRefused

LABEL: Final = "bifold self-custody 1"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
MAX_BOX_BYTES: Final = 8_192
Context = tuple[str, str, str]
"""Purpose, principal and request: the same words on both sides."""


class Opener:
    """The signer's half: one key pair for the life of the process, never written down."""

    def __init__(self) -> None:
        self._key = X25519PrivateKey.generate()

    def __repr__(self) -> str:
        return "Opener(***)"

    def public_key(self) -> bytes:
        """32 bytes, for browsers."""
        return raw_public(self._key.public_key())

    def open(self, box: Mapping[str, Any], context: Context) -> tuple[dict[str, Any], AESGCM]:
        """The JSON object in the box, and the key for a reply. Raises `SignerRefused` with reason
        `box_not_opened`: damaged, for another purpose, person or request, or for an earlier key."""
        refused = SignerRefused("box_not_opened", "not sealed for this request and this key")
        try:
            sender, nonce, sealed = (bytes.fromhex(box[name]) for name in ("key", "nonce", "box"))
            if len(sealed) > MAX_BOX_BYTES or len(nonce) != NONCE_BYTES:
                raise ValueError("length")
            shared = self._key.exchange(X25519PublicKey.from_public_bytes(sender))
        except (KeyError, TypeError, ValueError):
            raise refused from None
        here = self.public_key()
        document = None
        try:
            plain = AESGCM(derived(shared, sender, here, "box")).decrypt(
                nonce, sealed, associated(context)
            )
            document = json.loads(plain)
        except (InvalidTag, ValueError, RecursionError):  # the last: deep nesting
            document = None  # raised below: this error's frames would hold what was opened
        if not isinstance(document, dict):
            raise refused
        return document, AESGCM(derived(shared, sender, here, "reply"))


def reply(key: AESGCM, context: Context, document: Mapping[str, Any]) -> dict[str, str]:
    """An answer only the sender of the box can read."""
    nonce = os.urandom(NONCE_BYTES)
    text = json.dumps(document, ensure_ascii=False).encode("utf-8")
    return {"nonce": nonce.hex(), "box": key.encrypt(nonce, text, associated(context)).hex()}


def associated(context: Context) -> bytes:
    """What is bound into a box besides its content."""
    return json.dumps([LABEL, *context], separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def derived(shared: bytes, sender: bytes, receiver: bytes, part: str) -> bytes:
    """One 32-byte key of the agreement."""
    return HKDF(
        SHA256(), KEY_BYTES, salt=sender + receiver, info=f"{LABEL}|{part}".encode("ascii")
    ).derive(shared)


def raw_public(key: X25519PublicKey) -> bytes:
    """32 bytes."""
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)

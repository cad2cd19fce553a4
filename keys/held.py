"""A private key in this process's memory, ready to sign: the handle that most houses have.

Signed by eth_keys, the library in which eth-account signs (RFC 6979, low s, on libsecp256k1). What
`Account.sign_transaction` does besides is to build and hash the same bytes once more out of loose
fields, and to find the public point anew for each signature: several times the work.
"""

from __future__ import annotations

import contextlib
from typing import NoReturn

from eth_keys.datatypes import PrivateKey
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError

from keys.errors import InvalidDerivation, SignerRefused
from keys.handles import Vrs
from keys.secret import Secret


class HeldKey:
    """A `KeyHandle`. Shows its address and nothing else; cannot be pickled."""

    __slots__ = ("__key", "address")

    def __init__(self, key: Secret) -> None:
        """Raises `InvalidDerivation` unless it is a 32-byte secp256k1 key."""
        held = None
        with contextlib.suppress(ValidationError, ValueError):  # message and frames stay here
            held = PrivateKey(key.reveal())
        if held is None:
            raise InvalidDerivation("not a valid private key")
        self.__key = held
        self.address = str(held.public_key.to_checksum_address())

    def __repr__(self) -> str:
        return f"HeldKey({self.address})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("HeldKey cannot be pickled")

    @property
    def point(self) -> bytes:
        """The uncompressed public key (65 bytes)."""
        return b"\x04" + bytes(self.__key.public_key.to_bytes())

    def sign_digest(self, digest: bytes) -> Vrs:
        """See `KeyHandle`. The same digest gives the same signature."""
        signature = None
        with contextlib.suppress(BadSignature, ValidationError, ValueError, TypeError):
            signature = self.__key.sign_msg_hash(digest)
        if signature is None:
            raise SignerRefused("signing_failed", "this key did not sign")
        return int(signature.v), int(signature.r), int(signature.s)

"""The EIP-55 address of a private key. Apart from derivation: the signer loads no HD code."""

from __future__ import annotations

import contextlib

from eth_keys.datatypes import PrivateKey
from eth_utils.exceptions import ValidationError

from keys.errors import InvalidDerivation
from keys.secret import Secret


def address_of(key: Secret) -> str:
    """The EIP-55 address of a 32-byte secp256k1 key. Raises `InvalidDerivation` for another."""
    address = None
    with contextlib.suppress(ValidationError, ValueError):  # its message and frames stay here
        address = PrivateKey(key.reveal()).public_key.to_checksum_address()
    if address is None:
        raise InvalidDerivation("not a valid private key")
    return str(address)

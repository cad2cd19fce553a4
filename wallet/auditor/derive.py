"""Deposit addresses again from their index: BIP-32 CKDpub, and CREATE2 where addresses have no key.

Its own arithmetic: an address that somebody put into the database, or that a wrong derivation gave
out, does not come from the key that the house has (BIP-32, BIP-44, EIP-1014).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from coincurve import PublicKey
from eth_hash.auto import keccak

from wallet.auditor.signed import address_of

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@dataclass(frozen=True, slots=True)
class Branch:
    """An extended public key: the point and its chain code."""

    key: bytes
    chain: bytes

    @classmethod
    def parse(cls, xpub: str) -> Branch:
        """From `xpub…`. Raises ValueError when it is none."""
        number = 0
        for letter in xpub:
            number = number * 58 + _ALPHABET.index(letter)
        whole = number.to_bytes(82, "big")
        body, check = whole[:78], whole[78:]
        if hashlib.sha256(hashlib.sha256(body).digest()).digest()[:4] != check:
            raise ValueError("an extended public key with a wrong checksum")
        return cls(body[45:78], body[13:45])

    def child(self, index: int) -> Branch:
        """The non-hardened child. Raises ValueError for an index that has none."""
        if not 0 <= index < 2**31:
            raise ValueError("not an index")
        told = hmac.digest(self.chain, self.key + index.to_bytes(4, "big"), "sha512")
        if int.from_bytes(told[:32], "big") >= _ORDER:
            raise ValueError("an index without a child")
        point = PublicKey(self.key).add(told[:32])
        return Branch(point.format(compressed=True), told[32:])

    def address(self) -> str:
        """The address of this very key, in lower case."""
        return address_of(PublicKey(self.key))


def keyless(factory: str, network: str, index: int, init_code: bytes) -> str:
    """The address that `factory` alone can empty, in lower case (EIP-1014)."""
    salt = keccak(f"bifold-deposit-v1|{network}|{index}".encode())
    made = keccak(b"\xff" + bytes.fromhex(factory[2:]) + salt + keccak(init_code))
    return "0x" + made[12:].hex()

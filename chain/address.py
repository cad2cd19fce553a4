"""Ethereum addresses: checking what people type, EIP-55 form, EIP-681 links. Pure functions."""

from __future__ import annotations

import re
from functools import lru_cache

from eth_hash.backends.pysha3 import keccak256 as keccak

from chain.errors import InvalidAddress

ZERO_ADDRESS = "0x" + "0" * 40
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}\Z", re.ASCII)
_CHECKSUM_CACHE = 65_536  # Addresses remembered: a busy chain repeats few; about 15 MB when full.


@lru_cache(maxsize=_CHECKSUM_CACHE)
def to_checksum(address: str) -> str:
    """EIP-55 form of an address already known to be `0x` and 40 hexadecimal digits.

    Standard: EIP-55, https://eips.ethereum.org/EIPS/eip-55.
    """
    digits = address[2:].lower()
    digest = keccak(digits.encode("ascii")).hex()
    return "0x" + "".join(
        char.upper() if int(nibble, 16) >= 8 else char
        for char, nibble in zip(digits, digest, strict=False)
    )


def checked(address: str) -> str:
    """The EIP-55 form of an address typed by a person or sent by a partner.

    All lower case and all upper case digits carry no checksum and are accepted; mixed case must
    match EIP-55. `0x` is required; the zero address is refused, because coins sent there are lost.
    Raises InvalidAddress. (`web3.is_address` accepts all three of those mistakes.)
    """
    if not _ADDRESS.match(address):
        raise InvalidAddress("an address is 0x followed by 40 hexadecimal digits")
    if address.lower() == ZERO_ADDRESS:
        raise InvalidAddress("the zero address cannot receive")
    canonical = to_checksum(address.lower())
    digits = address[2:]
    carries_checksum = digits != digits.lower() and digits != digits.upper()
    if carries_checksum and address != canonical:
        raise InvalidAddress("the address has a wrong EIP-55 checksum: a digit was mistyped")
    return canonical


def to_bytes20(address: str) -> bytes:
    """The 20 bytes of an address; raises InvalidAddress where `checked` would."""
    return bytes.fromhex(checked(address)[2:])


def from_bytes20(raw: bytes) -> str:
    """EIP-55 form of 20 bytes. Raises InvalidAddress for another length."""
    if len(raw) != 20:
        raise InvalidAddress("an address has 20 bytes")
    return to_checksum("0x" + raw.hex())


def eip681(
    address: str,
    *,
    chain_id: int,
    contract: str | None = None,
    amount_minor: int | None = None,
) -> str:
    """A payment link wallets can open: `ethereum:…`.

    For the native coin `value` is in wei; for a token the target is the contract and the
    recipient an argument of `transfer`. `amount_minor` is in the asset's smallest unit.
    Standard: EIP-681, https://eips.ethereum.org/EIPS/eip-681. Raises InvalidAddress, ValueError.
    """
    if chain_id <= 0:
        raise ValueError("chain_id must be positive")
    if amount_minor is not None and amount_minor <= 0:
        raise ValueError("amount_minor must be positive")
    recipient = checked(address)
    if contract is None:
        link = f"ethereum:{recipient}@{chain_id}"
        return link if amount_minor is None else f"{link}?value={amount_minor}"
    link = f"ethereum:{checked(contract)}@{chain_id}/transfer?address={recipient}"
    return link if amount_minor is None else f"{link}&uint256={amount_minor}"

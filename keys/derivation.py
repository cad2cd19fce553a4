"""The account plan of a house: BIP-44, Ethereum, one hardened account per purpose.

m/44'/60'/0' signs (hot), m/44'/60'/1' receives (deposits), m/44'/60'/2' keeps (warm). Hardened
accounts keep them apart: an account's xpub together with one of its child keys gives the whole
account away, so children of 1' are never exported and the deposit side is derived from the xpub
alone. Cold is another mnemonic.
Standard: https://github.com/bitcoin/bips/blob/master/bip-0044.mediawiki.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

from bip_utils import EthAddrEncoder

from keys.address import address_of
from keys.errors import InvalidDerivation
from keys.hd import HARDENED, HdNode
from keys.secret import Secret, SecretText

__all__ = [
    "DEPOSIT_ACCOUNT",
    "HOT_ACCOUNT",
    "WARM_ACCOUNT",
    "DepositDeriver",
    "account_xpub",
    "address_of",
    "derive_key",
    "fingerprint",
    "path",
]

HOT_ACCOUNT: Final = 0
DEPOSIT_ACCOUNT: Final = 1
WARM_ACCOUNT: Final = 2
ETHEREUM_COIN: Final = 60
EXTERNAL_CHAIN: Final = 0
ACCOUNT_DEPTH: Final = 3
FINGERPRINT_HEX_DIGITS: Final = 32
KEPT_ADDRESSES: Final = 20_000
"""Remembered, some 5 MB: one takes half a millisecond, and a person may have thousands."""


def path(account: int, index: int) -> str:
    """`m/44'/60'/account'/0/index`. Raises `InvalidDerivation` outside 0 to 2**31 - 1."""
    for number in (account, index):
        if type(number) is not int or not 0 <= number < HARDENED:
            raise InvalidDerivation("account and index lie between 0 and 2**31 - 1")
    return f"m/44'/{ETHEREUM_COIN}'/{account}'/{EXTERNAL_CHAIN}/{index}"


def derive_key(seed: Secret, path: str) -> Secret:
    """The 32-byte private key at `path` below the seed's master. Raises `InvalidDerivation`."""
    return HdNode.from_seed(seed).derive(path).private_key()


def account_xpub(seed: Secret, account: int) -> str:
    """The extended public key of m/44'/60'/account', which derives every address below it."""
    if type(account) is not int or not 0 <= account < HARDENED:
        raise InvalidDerivation("an account lies between 0 and 2**31 - 1")
    return HdNode.from_seed(seed).derive(f"m/44'/{ETHEREUM_COIN}'/{account}'").xpub()


def fingerprint(xpub: str) -> str:
    """128 bits of the SHA-256 of the xpub's text, in hex: to compare by eye or by machine.

    BIP-32's own fingerprint has 32 bits, which somebody who wants another key with the same one
    finds in an afternoon.
    """
    return hashlib.sha256(xpub.encode("ascii")).hexdigest()[:FINGERPRINT_HEX_DIGITS]


class DepositDeriver:
    """Deposit addresses from the public half of account 1'. Holds no private key and makes none."""

    def __init__(self, xpub: str) -> None:
        """Parse and keep the parent node. Raises `InvalidDerivation` for anything that is not the
        public key of an account 1' at depth 3: an xprv, a child, or the hot account's xpub."""
        node = HdNode.from_extended(SecretText(xpub))
        if not node.is_public_only:
            raise InvalidDerivation("a private extended key has no place here")
        if node.depth != ACCOUNT_DEPTH or node.index != DEPOSIT_ACCOUNT | HARDENED:
            raise InvalidDerivation("not the extended public key of the deposit account")
        self.xpub = xpub
        self._parent = node.child(EXTERNAL_CHAIN)
        self._known = lru_cache(maxsize=KEPT_ADDRESSES)(self._derived)

    def address(self, index: int) -> str:
        """The EIP-55 address at m/44'/60'/1'/0/index. Raises `InvalidDerivation`."""
        return self._known(index) if type(index) is int else self._derived(index)

    def _derived(self, index: int) -> str:
        return str(EthAddrEncoder.EncodeKey(self._parent.child(index).public_key()))

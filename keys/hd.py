"""BIP-32 nodes: a thin, strict wrapper round bip-utils whose exceptions stop here.

Standard: https://github.com/bitcoin/bips/blob/master/bip-0032.mediawiki.
"""

from __future__ import annotations

import contextlib
import re
from typing import Final

from bip_utils import (
    Base58ChecksumError,
    Bip32KeyError,
    Bip32KeyNetVersions,
    Bip32PathError,
    Bip32Slip10Secp256k1,
)

from keys.errors import InvalidDerivation
from keys.secret import Secret, SecretText

HARDENED: Final = 0x80000000
MIN_SEED_BYTES: Final = 16
MAX_SEED_BYTES: Final = 64
MAX_DEPTH: Final = 255
MAINNET: Final = Bip32KeyNetVersions(b"\x04\x88\xb2\x1e", b"\x04\x88\xad\xe4")
"""The xpub/xprv prefixes, which Ethereum wallets use as well."""
_PATH = re.compile(r"(?:m/)?(?:[0-9]{1,10}'?/)*[0-9]{1,10}'?|m", re.ASCII)


class HdNode:
    """One BIP-32 node, private or public-only. Never printed: its `repr` shows nothing."""

    __slots__ = ("_node",)

    def __init__(self, node: Bip32Slip10Secp256k1) -> None:
        self._node = node

    def __repr__(self) -> str:
        return "HdNode(***)"

    @classmethod
    def from_seed(cls, seed: Secret, versions: Bip32KeyNetVersions = MAINNET) -> HdNode:
        """The master node of a 16- to 64-byte seed. Raises `InvalidDerivation`."""
        if not MIN_SEED_BYTES <= len(seed.reveal()) <= MAX_SEED_BYTES:
            raise InvalidDerivation("a seed has 16 to 64 bytes")
        node = None
        with contextlib.suppress(Bip32KeyError, ValueError):  # its frames hold the seed
            node = Bip32Slip10Secp256k1.FromSeed(seed.reveal(), versions)
        if node is None:
            raise InvalidDerivation("this seed has no valid master key")
        return cls(node)

    @classmethod
    def from_extended(cls, text: SecretText, versions: Bip32KeyNetVersions = MAINNET) -> HdNode:
        """Parse an xpub or xprv. Raises `InvalidDerivation` for everything BIP-32 forbids."""
        node = None
        with contextlib.suppress(Base58ChecksumError, Bip32KeyError, ValueError):
            node = Bip32Slip10Secp256k1.FromExtendedKey(text.reveal(), versions)
        if node is None:
            raise InvalidDerivation("not a valid extended key of this network")
        return cls(node)

    def derive(self, path: object) -> HdNode:
        """Follow a path such as `m/44'/60'/0'` (an `m` is allowed at a master only)."""
        if not isinstance(path, str) or _PATH.fullmatch(path) is None:
            raise InvalidDerivation("malformed derivation path")
        if path.startswith("m") and self.depth != 0:
            raise InvalidDerivation("a path from m starts at a master node")
        node = self
        for part in path.removeprefix("m").removeprefix("/").split("/"):
            if part:
                node = node.child(int(part.removesuffix("'")), hardened=part.endswith("'"))
        return node

    def child(self, index: int, *, hardened: bool = False) -> HdNode:
        """The child at `index` (0 to 2**31 - 1); hardened children need the private half."""
        if type(index) is not int or not 0 <= index < HARDENED:
            raise InvalidDerivation("a child index lies between 0 and 2**31 - 1")
        if self.depth >= MAX_DEPTH:
            raise InvalidDerivation("the tree is 255 levels deep at most")
        if hardened and self.is_public_only:
            raise InvalidDerivation("a hardened child cannot be derived from a public key")
        node = None
        with contextlib.suppress(Bip32KeyError, Bip32PathError, ValueError):
            node = self._node.ChildKey(index | HARDENED if hardened else index)
        if node is None:
            raise InvalidDerivation("no valid key at this index")
        return HdNode(node)

    @property
    def depth(self) -> int:
        """0 at the master, one more at each child."""
        return int(self._node.Depth().ToInt())

    @property
    def index(self) -> int:
        """This node's child number, hardened bit included."""
        return int(self._node.Index().ToInt())

    @property
    def is_public_only(self) -> bool:
        """True when the private half is absent."""
        return bool(self._node.IsPublicOnly())

    def private_key(self) -> Secret:
        """The 32-byte private key. Raises `InvalidDerivation` on a public-only node."""
        if self.is_public_only:
            raise InvalidDerivation("a public-only node has no private key")
        return Secret(self._node.PrivateKey().Raw().ToBytes())

    def public_key(self) -> bytes:
        """The compressed public key, 33 bytes."""
        return bytes(self._node.PublicKey().RawCompressed().ToBytes())

    def chain_code(self) -> bytes:
        """The 32-byte chain code."""
        return bytes(self._node.ChainCode().ToBytes())

    def identifier(self) -> bytes:
        """HASH160 of the public key, 20 bytes."""
        return bytes(self._node.PublicKey().KeyIdentifier())

    def xpub(self) -> str:
        """The extended public key, base58check."""
        return str(self._node.PublicKey().ToExtended())

    def xprv(self) -> SecretText:
        """The extended private key, base58check. Raises `InvalidDerivation` when public-only."""
        if self.is_public_only:
            raise InvalidDerivation("a public-only node has no private key")
        return SecretText(self._node.PrivateKey().ToExtended())

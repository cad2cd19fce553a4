"""From a passphrase to a key-encryption key: argon2id with stored parameters.

Defaults are the second recommendation of RFC 9106 (64 MiB, 3 passes, 4 lanes), about 0.15 s.
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from typing import Any, Final

from argon2.exceptions import HashingError
from argon2.low_level import Type, hash_secret_raw

from keys.errors import VaultCorrupt
from keys.secret import Secret, SecretText

KEY_BYTES: Final = 32
SALT_BYTES: Final = 16
MIN_MEMORY_KIB: Final = 8 * 1024
MAX_MEMORY_KIB: Final = 1024 * 1024
MAX_PASSES: Final = 16
MAX_LANES: Final = 16


@dataclass(frozen=True, slots=True)
class KdfCost:
    """What one guess at a passphrase costs."""

    memory_kib: int = 64 * 1024
    passes: int = 3
    lanes: int = 4

    def __post_init__(self) -> None:
        """Bounds both ways: a file may neither ask for nothing nor exhaust the host."""
        if not (
            MIN_MEMORY_KIB <= self.memory_kib <= MAX_MEMORY_KIB
            and 1 <= self.passes <= MAX_PASSES
            and 1 <= self.lanes <= MAX_LANES
        ):
            raise ValueError("argon2id parameters outside their bounds")


@dataclass(frozen=True, slots=True)
class Kdf:
    """A salt and a cost, as the vault file stores them."""

    salt: bytes
    cost: KdfCost

    @classmethod
    def fresh(cls, cost: KdfCost) -> Kdf:
        """A new random salt at this cost."""
        return cls(salt=os.urandom(SALT_BYTES), cost=cost)

    def key(self, passphrase: SecretText) -> Secret:
        """The 32-byte key-encryption key. The passphrase is compared in Unicode form NFKC."""
        try:
            return Secret(
                hash_secret_raw(
                    unicodedata.normalize("NFKC", passphrase.reveal()).encode("utf-8"),
                    self.salt,
                    time_cost=self.cost.passes,
                    memory_cost=self.cost.memory_kib,
                    parallelism=self.cost.lanes,
                    hash_len=KEY_BYTES,
                    type=Type.ID,
                )
            )
        except HashingError:
            failed = "argon2id could not run (memory?)"
        raise MemoryError(failed)

    def document(self) -> dict[str, Any]:
        """As the vault file holds it."""
        return {
            "name": "argon2id",
            "memory_kib": self.cost.memory_kib,
            "passes": self.cost.passes,
            "lanes": self.cost.lanes,
            "salt": self.salt.hex(),
        }

    @classmethod
    def from_document(cls, document: Any) -> Kdf:
        """The inverse of `document`. Raises `VaultCorrupt`."""
        try:
            if document["name"] != "argon2id" or len(document["salt"]) != 2 * SALT_BYTES:
                raise ValueError("unknown derivation")
            numbers = [document[name] for name in ("memory_kib", "passes", "lanes")]
            if any(type(number) is not int for number in numbers):
                raise ValueError("not a number")
            return cls(bytes.fromhex(document["salt"]), KdfCost(*numbers))
        except (KeyError, TypeError, ValueError) as error:
            raise VaultCorrupt("key derivation parameters are malformed") from error

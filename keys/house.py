"""What a house keeps in its vault, and its public half for everybody else.

The signer loads hot keys by name and never opens the mnemonic: a running signer holds no key of the
deposit account and no HD code.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eth_utils.address import is_checksum_address

from keys.errors import InvalidDerivation
from keys.files import write_atomically
from keys.secret import Secret
from keys.vault import Vault

OWNER: Final = "house"
MNEMONIC: Final = "mnemonic"
DEPOSIT_XPUB: Final = "deposit-xpub"
JOURNAL_KEY: Final = "journal-key"
MAX_HOT_KEYS: Final = 64


def hot_purpose(index: int) -> str:
    """The vault purpose of hot key `index`."""
    return f"hot-key/{index}"


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """What every process may know of a house: deposit xpub, its fingerprint, hot addresses.

    The xpub is public but private matter: who has it can list all deposit addresses."""

    deposit_xpub: str
    fingerprint: str
    hot: tuple[str, ...]


def hot_count(vault: Vault) -> int:
    """How many consecutive hot keys, from index 0, the vault holds."""
    names = set(vault.names())
    count = 0
    while (OWNER, hot_purpose(count)) in names:
        count += 1
    return count


def hot_keys(vault: Vault, count: int) -> list[Secret]:
    """The first `count` hot keys. Raises `SecretMissing` when the vault holds fewer."""
    return [vault.get(OWNER, hot_purpose(index)) for index in range(count)]


def deposit_xpub(vault: Vault) -> str:
    """The extended public key of the deposit account."""
    return vault.get(OWNER, DEPOSIT_XPUB).reveal().decode("ascii")


def journal_key(vault: Vault) -> Secret:
    """The key of the journal's chained MAC. It outlives a change of passphrase."""
    return vault.get(OWNER, JOURNAL_KEY)


def write_public(path: str | os.PathLike[str], public: PublicKeys) -> None:
    """Write `keys.json`, atomically."""
    document = {
        "deposit_xpub": public.deposit_xpub,
        "fingerprint": public.fingerprint,
        "hot": list(public.hot),
    }
    write_atomically(Path(path), json.dumps(document, indent=2).encode("ascii") + b"\n")


def read_public_document(path: str | os.PathLike[str]) -> PublicKeys:
    """Read `keys.json`. Raises `InvalidDerivation` when its shape is wrong."""
    try:
        document = json.loads(Path(path).read_bytes())
        public = PublicKeys(
            document["deposit_xpub"], document["fingerprint"], tuple(document["hot"])
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidDerivation(f"cannot read the public keys: {type(error).__name__}") from error
    texts = (public.deposit_xpub, public.fingerprint, *public.hot)
    if any(not isinstance(text, str) for text in texts):
        raise InvalidDerivation("the public keys are not text")
    if any(not is_checksum_address(address) for address in public.hot):
        raise InvalidDerivation("a hot address is not a valid EIP-55 address")
    return public

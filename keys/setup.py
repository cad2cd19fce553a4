"""Making a house: mnemonic, vault, journal, public keys.

Used by `bifold keys init` and the sandbox, once; the signer and the API never need it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keys import mnemonic as bip39
from keys.derivation import (
    DEPOSIT_ACCOUNT,
    HOT_ACCOUNT,
    WARM_ACCOUNT,
    account_xpub,
    address_of,
    derive_key,
    fingerprint,
    path,
)
from keys.errors import OtherHouse, VaultExists
from keys.house import (
    DEPOSIT_XPUB,
    JOURNAL_KEY,
    MAX_HOT_KEYS,
    MNEMONIC,
    OWNER,
    WARM_KEY,
    deposit_xpub,
    has_warm,
    hot_count,
    hot_keys,
    hot_purpose,
    warm_key,
)
from keys.journal import FORMAT, JOURNAL_FILE, Journal
from keys.kdf import KdfCost
from keys.public import PublicKeys, read_public, write_public
from keys.secret import Secret, SecretText
from keys.vault import DEFAULT_COST, VAULT_FILE, Vault

__all__ = [
    "HouseKeys",
    "PublicKeys",
    "create_house",
    "extend_hot",
    "extend_warm",
    "house_exists",
    "public_of",
    "read_mnemonic",
    "read_public",
    "warm_of",
    "wordlist",
    "write_public",
]

JOURNAL_KEY_BYTES: Final = 32
DIRECTORY_MODE: Final = 0o700


@dataclass(frozen=True, slots=True)
class HouseKeys:
    """A house just made. The mnemonic is here to be shown once, on a terminal, and written down."""

    mnemonic: SecretText
    deposit_xpub: str
    fingerprint: str
    hot: list[str]
    warm: str

    def public(self) -> PublicKeys:
        """The half that may be written to `keys.json`."""
        return PublicKeys(self.deposit_xpub, self.fingerprint, tuple(self.hot), self.warm)


def house_exists(vault_dir: str | os.PathLike[str]) -> bool:
    """True when the folder holds a complete house (the vault is written last)."""
    return (Path(vault_dir) / VAULT_FILE).exists()


def create_house(
    vault_dir: str | os.PathLike[str],
    passphrase: SecretText,
    *,
    words: int = 24,
    language: str = "english",
    hot: int = 1,
    mnemonic: SecretText | None = None,
    cost: KdfCost = DEFAULT_COST,
    expected: str | None = None,
) -> HouseKeys:
    """Make vault and journal in `vault_dir` (created 0700) from a fresh mnemonic, or from a given
    one to restore. A crash on the way leaves no vault, and the call can be made again.

    `expected`: the fingerprint it must have. Raises `VaultExists`, `InvalidMnemonic`, `OtherHouse`
    (nothing is made), and `ValueError` for a wrong count or language. A restored house has an empty
    journal: settle what is in flight before it signs (custody.md).
    """
    if not 1 <= hot <= MAX_HOT_KEYS:
        raise ValueError(f"a house has 1 to {MAX_HOT_KEYS} hot keys")
    phrase = mnemonic if mnemonic is not None else bip39.generate(words, language)
    seed = bip39.to_seed(phrase)
    keys, warm = _derive_hot(seed, range(hot)), _derive_warm(seed)
    xpub = account_xpub(seed, DEPOSIT_ACCOUNT)
    if expected is not None and fingerprint(xpub) != expected:
        raise OtherHouse(expected, fingerprint(xpub))
    contents = {
        (OWNER, MNEMONIC): Secret(phrase.reveal().encode("utf-8")),
        (OWNER, DEPOSIT_XPUB): Secret(xpub.encode("ascii")),
        (OWNER, JOURNAL_KEY): Secret(os.urandom(JOURNAL_KEY_BYTES)),
        (OWNER, WARM_KEY): warm,
    }
    contents |= {(OWNER, hot_purpose(index)): key for index, key in enumerate(keys)}
    directory = Path(vault_dir)
    directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    if house_exists(directory):
        raise VaultExists("this folder already holds a house")
    _fresh_journal(directory / JOURNAL_FILE, contents[(OWNER, JOURNAL_KEY)])
    Vault.create(directory / VAULT_FILE, passphrase, contents=contents, cost=cost)
    addresses = [address_of(key) for key in keys]
    return HouseKeys(phrase, xpub, fingerprint(xpub), addresses, address_of(warm))


def extend_hot(vault: Vault, count: int) -> None:
    """Derive and store hot keys up to index `count - 1`, from the mnemonic in the vault."""
    if not 1 <= count <= MAX_HOT_KEYS:
        raise ValueError(f"a house has 1 to {MAX_HOT_KEYS} hot keys")
    have = hot_count(vault)
    if have >= count:
        return
    seed = bip39.to_seed(read_mnemonic(vault))
    for index, key in zip(range(have, count), _derive_hot(seed, range(have, count)), strict=True):
        vault.put(OWNER, hot_purpose(index), key)


def extend_warm(vault: Vault) -> str:
    """Derive and store the warm key where a vault of an older release has none; its address.

    Again changes nothing. Raises `VaultLocked` when another process changed the vault meanwhile.
    """
    if not has_warm(vault):
        vault.put(OWNER, WARM_KEY, warm_of(vault))
    return address_of(warm_key(vault))


def warm_of(vault: Vault) -> Secret:
    """The warm key, stored or not yet."""
    return warm_key(vault) if has_warm(vault) else _derive_warm(bip39.to_seed(read_mnemonic(vault)))


def read_mnemonic(vault: Vault) -> SecretText:
    """The house's words, for an operator who makes a backup."""
    return SecretText(vault.get(OWNER, MNEMONIC).reveal().decode("utf-8"))


def wordlist(language: str) -> str:
    """All its words, for a look whether a terminal can show them. Raises `ValueError`."""
    return bip39.words_of(language)


def public_of(vault: Vault) -> PublicKeys:
    """The public half, read from an opened vault."""
    xpub = deposit_xpub(vault)
    addresses = [address_of(key) for key in hot_keys(vault, hot_count(vault))]
    warm = address_of(warm_key(vault)) if has_warm(vault) else None
    return PublicKeys(xpub, fingerprint(xpub), tuple(addresses), warm)


def _derive_hot(seed: Secret, indexes: Sequence[int]) -> list[Secret]:
    return [derive_key(seed, path(HOT_ACCOUNT, index)) for index in indexes]


def _derive_warm(seed: Secret) -> Secret:
    return derive_key(seed, path(WARM_ACCOUNT, 0))


def _fresh_journal(file: Path, key: Secret) -> None:
    """An empty journal. One left by an interrupted creation is replaced, one in use never is."""
    if file.exists():
        if file.read_bytes() != FORMAT:
            raise VaultExists(f"{file.name} belongs to another vault and is not empty")
        file.unlink()
    Journal.create(file, key).close()

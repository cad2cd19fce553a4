"""Backups of a house: shares of its words, the house again from shares, keys as Web3 key files.

Children of the deposit account are never exported: one of them and the account's xpub give away
every other, and the cold account is not here at all. A key that is brought in becomes the next hot
key; the house's words do not give it back, unless it came from them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from keys import keystore, shares
from keys import mnemonic as bip39
from keys.derivation import (
    DEPOSIT_ACCOUNT,
    HOT_ACCOUNT,
    DepositDeriver,
    address_of,
    derive_key,
    path,
)
from keys.errors import DepositKeyStays, InvalidDerivation, KeyKnown, SecretMissing
from keys.house import MAX_HOT_KEYS, OWNER, deposit_xpub, hot_count, hot_keys, hot_purpose
from keys.public import PublicKeys
from keys.secret import Secret, SecretText
from keys.setup import (
    HouseKeys,
    create_house,
    extend_warm,
    public_of,
    read_mnemonic,
    warm_of,
)
from keys.vault import DEFAULT_COST, VAULT_FILE, Vault

__all__ = [
    "Imported",
    "export_hot",
    "export_path",
    "import_hot",
    "public_half",
    "restore_house",
    "rotate_house",
    "split_house",
    "warm_address",
]

ACCOUNTS_LOOKED_AT: Final = 10
KEYS_LOOKED_AT: Final = 20
"""How far among the accounts of the words, and in each, an imported key is looked for."""
DEPOSITS_LOOKED_AT: Final = 1_000
"""How many deposit addresses a key that comes in is compared with."""
_PATH: Final = re.compile(r"m/44'/60'/([0-9]{1,10})'/0/([0-9]{1,10})", re.ASCII)
_DEPOSIT_BRANCH: Final = re.compile(r"m/0*44'/0*60'/0*1'(?:/.*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Imported:
    """A key that is hot now: its index among the hot keys, its address, and where it stands among
    those of the house's words (None: nowhere it was looked for, so it is of somewhere else)."""

    index: int
    address: str
    path: str | None


def split_house(
    vault_dir: str | os.PathLike[str],
    passphrase: SecretText,
    *,
    threshold: int,
    count: int,
    share_passphrase: SecretText | None = None,
) -> list[SecretText]:
    """SLIP-39 shares of the words in the vault, to be shown once and written down apart.

    Raises `WrongPassphrase`, `VaultCorrupt`, `SecretMissing`; `ValueError` for impossible counts.
    """
    vault = Vault.open(Path(vault_dir) / VAULT_FILE, passphrase)
    phrase = read_mnemonic(vault)
    return shares.split(phrase, threshold=threshold, count=count, passphrase=share_passphrase)


def restore_house(
    vault_dir: str | os.PathLike[str],
    passphrase: SecretText,
    given: Sequence[SecretText],
    *,
    share_passphrase: SecretText | None = None,
    language: str = "english",
    hot: int = 1,
    expected: str | None = None,
) -> HouseKeys:
    """The same house in a new vault, from enough shares. Its journal is empty: settle what is in
    flight before it signs (docs/custody.md). `expected`: the fingerprint it must have, since a
    wrong passphrase of the shares gives other words. Raises `InvalidShares`, `VaultExists`,
    `OtherHouse` (nothing is made).
    """
    phrase = shares.combine(given, passphrase=share_passphrase, language=language)
    return create_house(
        vault_dir, passphrase, mnemonic=phrase, hot=hot, cost=DEFAULT_COST, expected=expected
    )


def rotate_house(vault_dir: str | os.PathLike[str], old: SecretText, new: SecretText) -> None:
    """A new passphrase, salt and data key; everything is sealed anew under them.

    A running signer goes on: it has its keys and its journal's key, which stays the same. Its next
    start takes the new passphrase. Old copies of the file still open with the old one. Raises
    `WrongPassphrase`, `VaultCorrupt`, `VaultLocked`, and `ValueError` for an empty passphrase.
    """
    Vault.open(Path(vault_dir) / VAULT_FILE, old).rotate(new)


def public_half(vault_dir: str | os.PathLike[str], passphrase: SecretText) -> PublicKeys:
    """What `keys.json` says of the house in this vault; keys in devices are not in it.

    Raises `WrongPassphrase`, `VaultCorrupt`.
    """
    return public_of(Vault.open(Path(vault_dir) / VAULT_FILE, passphrase))


def warm_address(vault_dir: str | os.PathLike[str], passphrase: SecretText) -> str:
    """The address of the vault's warm key; an older release's vault gets that key now.

    Raises `WrongPassphrase`, `VaultCorrupt`, `VaultLocked`.
    """
    return extend_warm(Vault.open(Path(vault_dir) / VAULT_FILE, passphrase))


def export_hot(
    vault_dir: str | os.PathLike[str], passphrase: SecretText, *, index: int, password: SecretText
) -> dict[str, Any]:
    """Hot key `index` as a Web3 key file (version 3, scrypt), sealed with `password`.

    Raises `SecretMissing` when the vault holds no such hot key.
    """
    vault = Vault.open(Path(vault_dir) / VAULT_FILE, passphrase)
    if not 0 <= index < hot_count(vault):
        raise SecretMissing(f"the vault holds {hot_count(vault)} hot keys")
    key = hot_keys(vault, index + 1)[index]
    _refuse_deposit_key(vault, key)
    return keystore.encrypt(key, password)


def export_path(
    vault_dir: str | os.PathLike[str], passphrase: SecretText, *, at: str, password: SecretText
) -> dict[str, Any]:
    """The key at `m/44'/60'/ACCOUNT'/0/INDEX` of the house's words as a key file.

    Raises `DepositKeyStays` for account 1', `InvalidDerivation` for what is not such a path.
    """
    if _DEPOSIT_BRANCH.fullmatch(at):
        raise DepositKeyStays
    found = _PATH.fullmatch(at)
    if found is None:
        raise InvalidDerivation("a path of the form m/44'/60'/ACCOUNT'/0/INDEX")
    account, index = int(found[1]), int(found[2])
    if account == DEPOSIT_ACCOUNT:
        raise DepositKeyStays
    vault = Vault.open(Path(vault_dir) / VAULT_FILE, passphrase)
    key = derive_key(bip39.to_seed(read_mnemonic(vault)), path(account, index))
    return keystore.encrypt(key, password)


def import_hot(
    vault_dir: str | os.PathLike[str],
    passphrase: SecretText,
    document: Mapping[str, Any],
    *,
    password: SecretText,
) -> Imported:
    """The key of a Web3 key file as the next hot key.

    A running signer goes on without it. Unless it is one of the words' own (`path`), these do not
    give it back: keep the file. Raises `InvalidKeystore`; `KeyKnown` for a hot key of this vault or
    its warm one; `DepositKeyStays` for the key of one of the first deposit addresses;
    `SecretMissing` when the vault holds as many as it may.
    """
    vault = Vault.open(Path(vault_dir) / VAULT_FILE, passphrase)
    index = hot_count(vault)
    if index >= MAX_HOT_KEYS:
        raise SecretMissing(f"a vault holds at most {MAX_HOT_KEYS} hot keys")
    key = keystore.decrypt(document, password)
    address = address_of(key)
    if address in (address_of(one) for one in hot_keys(vault, index)):
        raise KeyKnown(f"{address} is a hot key of this vault already")
    if address == address_of(warm_of(vault)):
        raise KeyKnown(f"{address} is the warm key of this vault: hot, it would need no operators")
    _refuse_deposit_key(vault, key)
    vault.put(OWNER, hot_purpose(index), key)
    return Imported(index, address, _path_of(vault, address))


def _path_of(vault: Vault, address: str) -> str | None:
    """Where the words have the key of `address`: all hot keys there may be, then the first of other
    accounts."""
    seed = bip39.to_seed(read_mnemonic(vault))
    looked_at = [(HOT_ACCOUNT, index) for index in range(MAX_HOT_KEYS)]
    looked_at += [(account, index) for account in range(ACCOUNTS_LOOKED_AT)
                  if account not in (HOT_ACCOUNT, DEPOSIT_ACCOUNT)
                  for index in range(KEYS_LOOKED_AT)]  # fmt: skip
    for account, index in looked_at:
        if address_of(derive_key(seed, path(account, index))) == address:
            return path(account, index)
    return None


def _refuse_deposit_key(vault: Vault, key: Secret) -> None:
    """Raises `DepositKeyStays`."""
    deriver, address = DepositDeriver(deposit_xpub(vault)), address_of(key)
    if any(deriver.address(index) == address for index in range(DEPOSITS_LOOKED_AT)):
        raise DepositKeyStays

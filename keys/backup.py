"""Backups of a house: shares of its words, the house again from shares, one hot key as a key file.

Children of the deposit account are never exported: one of them and the account's xpub give away
every other, and the cold account is not here at all.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keys import keystore, shares
from keys.errors import SecretMissing
from keys.house import hot_count, hot_keys
from keys.secret import SecretText
from keys.setup import HouseKeys, create_house, read_mnemonic
from keys.vault import DEFAULT_COST, VAULT_FILE, Vault

__all__ = ["export_hot", "restore_house", "split_house"]


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
) -> HouseKeys:
    """The same house in a new vault, from enough shares. Its journal is empty: settle what is in
    flight before it signs (docs/custody.md). Raises `InvalidShares`, `VaultExists`.
    """
    phrase = shares.combine(given, passphrase=share_passphrase, language=language)
    return create_house(vault_dir, passphrase, mnemonic=phrase, hot=hot, cost=DEFAULT_COST)


def rotate_house(vault_dir: str | os.PathLike[str], old: SecretText, new: SecretText) -> None:
    """A new passphrase, salt and data key; everything is sealed anew under them.

    A running signer goes on: it has its keys and its journal's key, which stays the same. Its next
    start takes the new passphrase. Old copies of the file still open with the old one. Raises
    `WrongPassphrase`, `VaultCorrupt`, `VaultLocked`, and `ValueError` for an empty passphrase.
    """
    Vault.open(Path(vault_dir) / VAULT_FILE, old).rotate(new)


def export_hot(
    vault_dir: str | os.PathLike[str], passphrase: SecretText, *, index: int, password: SecretText
) -> dict[str, Any]:
    """Hot key `index` as a Web3 key file (version 3, scrypt), sealed with `password`.

    Raises `SecretMissing` when the vault holds no such hot key.
    """
    vault = Vault.open(Path(vault_dir) / VAULT_FILE, passphrase)
    if not 0 <= index < hot_count(vault):
        raise SecretMissing(f"the vault holds {hot_count(vault)} hot keys")
    return keystore.encrypt(hot_keys(vault, index + 1)[index], password)

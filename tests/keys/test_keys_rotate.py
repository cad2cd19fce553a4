"""A new passphrase for the vault while its signer runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from keys.backup import rotate_house
from keys.errors import WrongPassphrase
from keys.house import hot_keys, journal_key
from keys.journal import JOURNAL_FILE, Journal
from keys.kdf import KdfCost
from keys.secret import SecretText
from keys.setup import create_house
from keys.vault import VAULT_FILE, Vault

OLD, NEW = SecretText("the old one"), SecretText("the new one")
CHEAP = KdfCost(memory_kib=8 * 1024, passes=1)


def test_the_old_one_opens_nothing_and_the_journal_goes_on(tmp_path: Path) -> None:
    house = create_house(tmp_path, OLD, cost=CHEAP)
    running = Journal.open(
        tmp_path / JOURNAL_FILE, journal_key(Vault.open(tmp_path / VAULT_FILE, OLD))
    )
    before = (tmp_path / VAULT_FILE).read_bytes()
    rotate_house(tmp_path, OLD, NEW)
    after = (tmp_path / VAULT_FILE).read_bytes()
    assert not set(before.split(b'"sealed"')[1:]) & set(after.split(b'"sealed"')[1:])
    with pytest.raises(WrongPassphrase):
        Vault.open(tmp_path / VAULT_FILE, OLD)
    with pytest.raises(WrongPassphrase):
        rotate_house(tmp_path, OLD, NEW)
    running.close()
    vault = Vault.open(tmp_path / VAULT_FILE, NEW)
    Journal.open(tmp_path / JOURNAL_FILE, journal_key(vault)).close()
    assert len(hot_keys(vault, 1)) == len(house.hot)

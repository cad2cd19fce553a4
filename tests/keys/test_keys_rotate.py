"""A new passphrase for the vault while its signer runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from keys.address import address_of
from keys.backup import public_half, rotate_house
from keys.errors import NonceConflict, WrongPassphrase
from keys.house import hot_keys, journal_key
from keys.journal import JOURNAL_FILE, Journal
from keys.kdf import KdfCost
from keys.secret import SecretText
from keys.setup import create_house, public_of
from keys.testing import TEST_PASSPHRASE
from keys.vault import VAULT_FILE, Vault
from tests.keys.test_keys_process import Host, host
from tests.keys.test_keys_process import _pay as pay

__all__ = ["host"]
OLD, NEW = SecretText("the old one"), SecretText("the new one")
CHEAP = KdfCost(memory_kib=8 * 1024, passes=1)


def test_the_old_one_opens_nothing_and_the_journal_goes_on(tmp_path: Path) -> None:
    house = create_house(tmp_path, OLD, cost=CHEAP, hot=2)
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
    assert public_of(vault) == house.public()
    assert [address_of(key) for key in hot_keys(vault, 2)] == house.hot


async def test_a_running_signer_signs_on_and_its_next_start_takes_the_new_one(host: Host) -> None:
    folder = host.folder / "vault"
    before = public_half(folder, TEST_PASSPHRASE)
    host.start()
    remote = await host.client()
    first = await pay(remote, 0)
    Vault.open(folder / VAULT_FILE, TEST_PASSPHRASE).rotate(NEW, cost=CHEAP)
    second = await pay(remote, 1)  # by the same process, over the same connection
    assert host.running[0].poll() is None
    await remote.aclose()
    host.kill()
    host.start(passphrase=NEW)
    again = await host.client()
    assert [await pay(again, nonce) for nonce in (0, 1)] == [first, second]
    with pytest.raises(NonceConflict):  # its journal knows what was signed before and after
        await pay(again, 1, value=2)
    assert await again.hot_addresses() == list(before.hot)
    assert await again.deposit_xpub() == before.deposit_xpub
    await again.aclose()
    assert public_half(folder, NEW) == before and before.warm is not None

"""Making a house, restoring it, and what becomes public."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from keys import house, setup
from keys.derivation import DepositDeriver, fingerprint
from keys.errors import InvalidDerivation, InvalidMnemonic, SecretMissing, VaultExists
from keys.journal import Journal
from keys.kdf import KdfCost
from keys.secret import Secret, SecretText
from keys.testing import TEST_HOT_ADDRESSES, TEST_MNEMONIC, TEST_PASSPHRASE
from keys.vault import Vault


def _open(folder: Path) -> Vault:
    return Vault.open(folder / "vault.json", TEST_PASSPHRASE)


class TestCreateHouse:
    def test_a_fresh_house_is_whole(self, tmp_path: Path, light: KdfCost) -> None:
        folder = tmp_path / "vault"
        made = setup.create_house(folder, TEST_PASSPHRASE, hot=2, cost=light)
        assert len(made.mnemonic.reveal().split()) == 24
        assert made.mnemonic.reveal() not in repr(made)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert sorted(os.listdir(folder)) == ["journal.log", "vault.json"]
        vault = _open(folder)
        assert setup.read_mnemonic(vault) == made.mnemonic
        assert setup.public_of(vault) == made.public()
        assert house.deposit_xpub(vault) == made.deposit_xpub
        Journal.open(folder / "journal.log", house.journal_key(vault)).close()

    def test_the_words_restore_the_same_house(self, tmp_path: Path, light: KdfCost) -> None:
        made = setup.create_house(
            tmp_path / "a", TEST_PASSPHRASE, words=12, language="chinese_simplified", cost=light
        )
        again = setup.create_house(
            tmp_path / "b", SecretText("other"), mnemonic=made.mnemonic, cost=light
        )
        assert again.public() == made.public()

    def test_the_known_phrase_has_the_known_addresses(self, tmp_path: Path, light: KdfCost) -> None:
        made = setup.create_house(
            tmp_path, TEST_PASSPHRASE, mnemonic=SecretText(TEST_MNEMONIC), hot=2, cost=light
        )
        assert tuple(made.hot) == TEST_HOT_ADDRESSES

    def test_a_house_is_never_overwritten(self, tmp_path: Path, light: KdfCost) -> None:
        setup.create_house(tmp_path, TEST_PASSPHRASE, cost=light)
        before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
        with pytest.raises(VaultExists):
            setup.create_house(tmp_path, TEST_PASSPHRASE, cost=light)
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before

    def test_an_interrupted_creation_can_be_repeated(self, tmp_path: Path, light: KdfCost) -> None:
        Journal.create(tmp_path / "journal.log", Secret(b"lost key")).close()
        assert not setup.house_exists(tmp_path)
        setup.create_house(tmp_path, TEST_PASSPHRASE, cost=light)
        Journal.open(tmp_path / "journal.log", house.journal_key(_open(tmp_path))).close()

    def test_a_journal_in_use_is_never_replaced(self, tmp_path: Path, light: KdfCost) -> None:
        setup.create_house(tmp_path, TEST_PASSPHRASE, cost=light)
        journal = tmp_path / "journal.log"
        journal.write_bytes(journal.read_bytes() + b"an entry\n")
        (tmp_path / "vault.json").unlink()
        with pytest.raises(VaultExists):
            setup.create_house(tmp_path, TEST_PASSPHRASE, cost=light)
        assert journal.read_bytes().endswith(b"an entry\n")

    def test_wrong_words_make_nothing(self, tmp_path: Path, light: KdfCost) -> None:
        with pytest.raises(InvalidMnemonic):
            setup.create_house(
                tmp_path / "v", TEST_PASSPHRASE, mnemonic=SecretText("no words"), cost=light
            )
        assert not (tmp_path / "v").exists()

    @pytest.mark.parametrize("hot", [0, 65])
    def test_the_number_of_hot_keys_is_bounded(self, tmp_path: Path, hot: int) -> None:
        with pytest.raises(ValueError, match="hot keys"):
            setup.create_house(tmp_path, TEST_PASSPHRASE, hot=hot)


class TestExtendHot:
    def test_more_keys_come_from_the_same_words(self, tmp_path: Path, light: KdfCost) -> None:
        phrase = SecretText(TEST_MNEMONIC)
        setup.create_house(tmp_path, TEST_PASSPHRASE, mnemonic=phrase, hot=1, cost=light)
        vault = _open(tmp_path)
        with pytest.raises(SecretMissing):
            house.hot_keys(vault, 2)
        setup.extend_hot(vault, 2)
        assert house.hot_count(_open(tmp_path)) == 2
        assert setup.public_of(_open(tmp_path)).hot == TEST_HOT_ADDRESSES
        before = (tmp_path / "vault.json").read_bytes()
        setup.extend_hot(_open(tmp_path), 1)
        assert (tmp_path / "vault.json").read_bytes() == before


class TestPublicKeys:
    def test_written_and_read_back(self, tmp_path: Path, light: KdfCost) -> None:
        made = setup.create_house(tmp_path / "v", TEST_PASSPHRASE, cost=light)
        setup.write_public(tmp_path / "keys.json", made.public())
        assert set(json.loads((tmp_path / "keys.json").read_text())) == {
            "deposit_xpub",
            "fingerprint",
            "hot",
            "warm",
        }
        public = setup.read_public(tmp_path / "keys.json")
        assert public == made.public()
        assert DepositDeriver(public.deposit_xpub).address(0).startswith("0x")

    def test_an_exchanged_xpub_is_refused(self, tmp_path: Path, light: KdfCost) -> None:
        ours = setup.create_house(tmp_path / "a", TEST_PASSPHRASE, cost=light).public()
        theirs = setup.create_house(tmp_path / "b", TEST_PASSPHRASE, cost=light).public()
        forged = setup.PublicKeys(theirs.deposit_xpub, ours.fingerprint, ours.hot)
        setup.write_public(tmp_path / "keys.json", forged)
        with pytest.raises(InvalidDerivation, match="fingerprint"):
            setup.read_public(tmp_path / "keys.json")
        assert fingerprint(ours.deposit_xpub) == ours.fingerprint

    @pytest.mark.parametrize(
        "content",
        ["", "{}", "[]", '{"deposit_xpub": 1, "fingerprint": "", "hot": []}'],
    )
    def test_malformed_files(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "keys.json").write_text(content)
        with pytest.raises(InvalidDerivation):
            setup.read_public(tmp_path / "keys.json")

    def test_a_wrong_checksum_in_a_hot_address(self, tmp_path: Path, light: KdfCost) -> None:
        made = setup.create_house(tmp_path / "v", TEST_PASSPHRASE, cost=light).public()
        lower = setup.PublicKeys(made.deposit_xpub, made.fingerprint, (made.hot[0].lower(),))
        setup.write_public(tmp_path / "keys.json", lower)
        with pytest.raises(InvalidDerivation, match="EIP-55"):
            setup.read_public(tmp_path / "keys.json")

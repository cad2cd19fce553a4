"""Web3 key files of the house: a key comes in as the next hot key, deposit keys never leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from keys.backup import Imported, export_hot, export_path, import_hot
from keys.derivation import DepositDeriver
from keys.errors import DepositKeyStays, InvalidDerivation, InvalidKeystore, KeyKnown
from keys.house import deposit_xpub, hot_count, hot_keys
from keys.kdf import KdfCost
from keys.keystore import encrypt
from keys.secret import Secret, SecretText
from keys.setup import create_house, read_public, write_public
from keys.vault import VAULT_FILE, Vault
from tests.keys_offline.test_backup import Terminal
from wallet.sandbox.temporary import ROOT
from wallet.testing.pace import patience

PASSPHRASE = SecretText("the vault's passphrase")
CHEAP = KdfCost(memory_kib=8_192, passes=1, lanes=1)
VECTOR: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "keys" / "vectors" / "keystore_v3.json").read_text("utf-8")
)["test1"]
PASSWORD = SecretText(VECTOR["password"])
ADDRESS = Account.from_key(VECTOR["priv"]).address
WORDS = SecretText("test test test test test test test test test test test junk")


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A folder with vault and keys.json of well-known words, one hot key."""
    made = create_house(tmp_path / "vault", PASSPHRASE, mnemonic=WORDS, cost=CHEAP)
    write_public(tmp_path / "keys.json", made.public())
    (tmp_path / "file.json").write_text(json.dumps(VECTOR["json"]))
    return tmp_path


def known(path: str) -> Any:
    Account.enable_unaudited_hdwallet_features()
    return Account.from_mnemonic(WORDS.reveal(), account_path=path)


def sealed(key: bytes, password: str = "a password") -> dict[str, Any]:
    """Cheaper than `keys.keystore.encrypt`, of the same form."""
    document: dict[str, Any] = Account.encrypt(key, password, kdf="pbkdf2", iterations=10)
    return document


class TestImport:
    def test_it_is_the_next_hot_key_after_a_new_start(self, house: Path) -> None:
        vault = house / "vault"
        made = import_hot(vault, PASSPHRASE, VECTOR["json"], password=PASSWORD)
        assert made == Imported(1, ADDRESS, None)
        opened = Vault.open(vault / VAULT_FILE, PASSPHRASE)
        assert hot_count(opened) == 2
        assert hot_keys(opened, 2)[1].reveal().hex() == VECTOR["priv"]
        out = export_hot(vault, PASSPHRASE, index=1, password=SecretText("another"))
        assert Account.decrypt(out, "another").hex() == VECTOR["priv"]

    def test_once_only(self, house: Path) -> None:
        import_hot(house / "vault", PASSPHRASE, VECTOR["json"], password=PASSWORD)
        with pytest.raises(KeyKnown, match=ADDRESS):
            import_hot(house / "vault", PASSPHRASE, VECTOR["json"], password=PASSWORD)

    def test_a_wrong_password_changes_nothing(self, house: Path) -> None:
        before = (house / "vault" / VAULT_FILE).read_bytes()
        with pytest.raises(InvalidKeystore):
            import_hot(house / "vault", PASSPHRASE, VECTOR["json"], password=SecretText("no"))
        assert (house / "vault" / VAULT_FILE).read_bytes() == before

    @pytest.mark.parametrize("index", [0, 7, 999])
    def test_a_deposit_key_is_never_hot(self, house: Path, index: int) -> None:
        document = sealed(known(f"m/44'/60'/1'/0/{index}").key)
        with pytest.raises(DepositKeyStays):
            import_hot(house / "vault", PASSPHRASE, document, password=SecretText("a password"))

    @pytest.mark.parametrize(
        "at", ["m/44'/60'/0'/0/1", "m/44'/60'/0'/0/63", "m/44'/60'/2'/0/1", "m/44'/60'/9'/0/19"]
    )
    def test_a_key_of_the_words_is_known_as_one(self, house: Path, at: str) -> None:
        key = known(at)
        made = import_hot(
            house / "vault", PASSPHRASE, sealed(key.key), password=SecretText("a password")
        )
        assert made == Imported(1, key.address, at)


class TestExport:
    def test_another_key_of_the_words(self, house: Path) -> None:
        for at in ("m/44'/60'/0'/0/3", "m/44'/60'/2'/0/0"):
            document = export_path(
                house / "vault", PASSPHRASE, at=at, password=SecretText("a password")
            )
            assert document["version"] == 3
            assert "0x" + document["address"].lower() == known(at).address.lower()
            assert Account.decrypt(document, "a password") == known(at).key

    @pytest.mark.parametrize(
        "at",
        [
            "m/44'/60'/1'/0/0", "m/44'/60'/1'/0/5", "m/44'/60'/1'", "m/44'/60'/01'/0/0",
            "m/044'/060'/001'/0/0", "m/44'/60'/1'/1/0",
        ],
    )  # fmt: skip
    def test_deposit_keys_are_refused_by_name(self, house: Path, at: str) -> None:
        with pytest.raises(DepositKeyStays, match="deposit addresses"):
            export_path(house / "vault", PASSPHRASE, at=at, password=SecretText("x"))

    @pytest.mark.parametrize(
        "at", ["", "m", "m/44'/60'/0'", "m/44'/60'/0/0/0", "m/44'/60'/4294967296'/0/0", "m/0", "5"]
    )
    def test_nothing_but_single_keys(self, house: Path, at: str) -> None:
        with pytest.raises(InvalidDerivation):
            export_path(house / "vault", PASSPHRASE, at=at, password=SecretText("x"))

    def test_not_by_the_back_door_either(self, house: Path) -> None:
        """A deposit key that got among the hot ones does not leave."""
        vault = Vault.open(house / "vault" / VAULT_FILE, PASSPHRASE)
        child = known("m/44'/60'/1'/0/4")
        assert DepositDeriver(deposit_xpub(vault)).address(4) == child.address
        vault.put("house", "hot-key/1", Secret(bytes(child.key)))
        with pytest.raises(DepositKeyStays):
            export_hot(house / "vault", PASSPHRASE, index=1, password=SecretText("x"))


class TestCommands:
    def bifold(
        self, house: Path, *arguments: str, passphrase: str = PASSPHRASE.reveal()
    ) -> subprocess.CompletedProcess[str]:
        reading, writing = os.pipe()
        os.write(writing, passphrase.encode())
        os.close(writing)
        try:
            return subprocess.run(
                [sys.executable, "-m", "wallet.cli", "keys", *arguments,
                 "--vault", str(house / "vault"), "--passphrase-fd", str(reading)],
                cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
                pass_fds=[reading], timeout=patience(60),
            )  # fmt: skip
        finally:
            os.close(reading)

    def test_in_and_out_again(self, house: Path) -> None:
        (house / "password").write_text(PASSWORD.reveal() + "\n")
        file, public = str(house / "file.json"), str(house / "keys.json")
        password = ("--password-file", str(house / "password"))
        came = self.bifold(house, "import", file, "--public", public, *password)
        assert came.returncode == 0, came.stderr
        assert f"hot 1: {ADDRESS}" in came.stdout and "--hot-keys 2" in came.stdout
        assert "does not bring this key back" in came.stdout
        assert list(read_public(public).hot)[1] == ADDRESS
        out = house / "out.json"
        went = self.bifold(house, "export", "--index", "1", "--out", str(out), *password)
        assert went.returncode == 0, went.stderr
        assert (
            Account.decrypt(json.loads(out.read_text()), PASSWORD.reveal()).hex()
            == (VECTOR["priv"])
        )
        assert oct(out.stat().st_mode & 0o777) == "0o600"
        again = self.bifold(house, "export", "--index", "1", "--out", str(out), *password)
        assert (again.returncode, again.stderr) == (1, f"bifold: {out} is there already.\n")
        for ran in (came, went, again):
            assert VECTOR["priv"] not in ran.stdout + ran.stderr
            assert PASSWORD.reveal() not in ran.stdout + ran.stderr

    @pytest.mark.parametrize(
        ("at", "told"),
        [
            ("m/44'/60'/0'/0/1", "they bring it back, by bifold keys restore --hot-keys 2."),
            ("m/44'/60'/0'/0/4", "back, as hot 4, by bifold keys restore --hot-keys 5."),
            ("m/44'/60'/3'/0/0", "bifold keys restore does not bring it back;"),
        ],
    )
    def test_what_brings_a_key_of_the_words_back(self, house: Path, at: str, told: str) -> None:
        """It said that nothing but the file does."""
        (house / "password").write_text("a password")
        (house / "file.json").write_text(json.dumps(sealed(known(at).key)))
        came = self.bifold(
            house, "import", str(house / "file.json"), "--password-file", str(house / "password")
        )
        assert came.returncode == 0, came.stderr
        assert f"of the house's own words ({at})" in came.stdout and told in came.stdout
        assert "this key back" not in came.stdout

    def test_the_warm_address_is_told_and_written_to_keys_json(self, house: Path) -> None:
        """As an operator does after the upgrade of a house that was made before warm."""
        public, warm = house / "keys.json", known("m/44'/60'/2'/0/0").address
        before = read_public(public)
        write_public(public, replace(before, warm=None))
        told = self.bifold(house, "warm")
        assert told.returncode == 0, told.stderr
        assert f"warm: {warm}" in told.stdout
        assert read_public(public).warm is None
        assert self.bifold(house, "warm", "--public", str(public)).returncode == 0
        assert read_public(public) == before
        assert before.warm == warm
        wrong = self.bifold(house, "warm", "--public", str(public), passphrase="wrong")
        assert wrong.returncode != 0 and read_public(public) == before

    def test_deposit_keys_stay_and_leave_no_file(self, house: Path) -> None:
        (house / "password").write_text("x")
        ran = self.bifold(
            house, "export", "--path", "m/44'/60'/1'/0/0", "--out", str(house / "out"),
            "--password-file", str(house / "password"),
        )  # fmt: skip
        assert (ran.returncode, ran.stdout) == (1, "")
        assert "never exported" in ran.stderr
        assert not (house / "out").exists()

    def test_a_password_is_typed_or_read_and_not_beside_the_vault(self, house: Path) -> None:
        nowhere = self.bifold(house, "import", str(house / "file.json"))
        assert nowhere.returncode == 1 and "--password-file" in nowhere.stderr
        beside = house / "vault" / "password"
        beside.write_text(PASSWORD.reveal())
        ran = self.bifold(house, "import", str(house / "file.json"), "--password-file", str(beside))
        assert ran.returncode == 1 and "vault's own folder" in ran.stderr

    def test_a_bomb_is_refused_at_once(self, house: Path) -> None:
        bomb = json.loads(json.dumps(VECTOR["json"]))
        bomb["crypto"]["kdfparams"]["c"] = 10**12
        (house / "file.json").write_text(json.dumps(bomb))
        (house / "password").write_text(PASSWORD.reveal())
        ran = self.bifold(
            house, "import", str(house / "file.json"), "--password-file", str(house / "password")
        )
        assert ran.returncode == 1 and "too much work" in ran.stderr


def test_a_password_is_typed_unseen_and_twice_for_a_new_file(house: Path) -> None:
    vault = ("--vault", str(house / "vault"), "--passphrase-fd", "{0}")
    secrets = (PASSPHRASE.reveal().encode(),)
    coming = Terminal("import", str(house / "file.json"), *vault, secrets=secrets)
    coming.until("Password of the key file")
    coming.type(PASSWORD.reveal())
    assert coming.end() == 0, coming.said
    assert ADDRESS in coming.said and PASSWORD.reveal() not in coming.said
    out = house / "out.json"
    for second, code in (("typed otherwise", 1), ("typed alike", 0)):
        going = Terminal("export", "--index", "1", "--out", str(out), *vault, secrets=secrets)
        going.until("Password of the key file")
        going.type("typed alike")
        going.until("The same again")
        going.type(second)
        assert going.end() == code, going.said
        assert out.exists() == (code == 0)
    assert Account.decrypt(json.loads(out.read_text()), "typed alike").hex() == VECTOR["priv"]


def test_an_encrypted_key_is_geths_standard() -> None:
    made = encrypt(Secret(bytes.fromhex(VECTOR["priv"])), SecretText("x"))
    parameters = made["crypto"]["kdfparams"]
    assert (parameters["n"], parameters["r"], parameters["p"]) == (262_144, 8, 1)

"""The vault keeps its secrets, and notices every way its file can be wrong."""

from __future__ import annotations

import hashlib
import json
import stat
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keys import kdf as kdf_module
from keys.errors import SecretMissing, VaultCorrupt, VaultExists, VaultLocked, WrongPassphrase
from keys.kdf import Kdf, KdfCost
from keys.secret import Secret, SecretText
from keys.vault import DEFAULT_COST, Vault

PASSPHRASE = SecretText("correct horse battery staple")
HOT = Secret(b"hot key canary 4711")
SEED = Secret(b"seed canary 0815 with more bytes")


@pytest.fixture
def path(tmp_path: Path, light: KdfCost) -> Path:
    file = tmp_path / "vault.json"
    contents = {("house", "hot-key/0"): HOT, ("house", "mnemonic"): SEED}
    Vault.create(file, PASSPHRASE, contents=contents, cost=light)
    return file


def _rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Alter the file as somebody who knows its format would: the plain checksum is put right."""
    document = json.loads(path.read_text())
    change(document)
    body = {name: value for name, value in document.items() if name != "checksum"}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    document["checksum"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(document))


class TestRoundTrip:
    def test_what_was_put_is_there_after_opening(self, path: Path) -> None:
        vault = Vault.open(path, PASSPHRASE)
        assert vault.get("house", "hot-key/0") == HOT
        assert vault.get("house", "mnemonic") == SEED
        vault.put("tenant", "mnemonic", Secret(b"other"))
        again = Vault.open(path, PASSPHRASE)
        assert again.get("tenant", "mnemonic") == Secret(b"other")
        assert again.get("house", "mnemonic") == SEED

    def test_a_replaced_secret_has_the_next_version(self, path: Path) -> None:
        vault = Vault.open(path, PASSPHRASE)
        vault.put("house", "hot-key/0", Secret(b"new"))
        rows = json.loads(path.read_text())["rows"]
        assert [row["version"] for row in rows] == [2, 1]
        assert Vault.open(path, PASSPHRASE).get("house", "hot-key/0") == Secret(b"new")

    def test_a_missing_secret_is_named(self, path: Path) -> None:
        with pytest.raises(SecretMissing, match="hot-key/9"):
            Vault.open(path, PASSPHRASE).get("house", "hot-key/9")

    def test_a_vault_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for folder, why in (("file", "a part of that path is no folder"), ("none", "no vault")):
            with pytest.raises(SecretMissing, match=why) as refused:
                Vault.open(tmp_path / folder / "vault.json", PASSPHRASE)
            assert str(tmp_path / folder) in str(refused.value)

    def test_the_file_is_private_and_shows_nothing(self, path: Path) -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        content = path.read_bytes()
        for secret in (HOT, SEED, Secret(PASSPHRASE.reveal().encode())):
            assert secret.reveal() not in content
            assert secret.reveal().hex().encode() not in content
        assert [entry.name for entry in path.parent.iterdir()] == ["vault.json"]
        assert repr(Vault.open(path, PASSPHRASE)) == "Vault(vault.json, 2 rows)"

    def test_two_vaults_with_one_passphrase_share_no_bytes(
        self, path: Path, tmp_path: Path, light: KdfCost
    ) -> None:
        other = tmp_path / "other.json"
        Vault.create(other, PASSPHRASE, contents={("house", "mnemonic"): SEED}, cost=light)
        one, two = (json.loads(file.read_text()) for file in (path, other))
        assert one["kdf"]["salt"] != two["kdf"]["salt"]
        assert one["data_key"] != two["data_key"]

    def test_it_is_never_overwritten(self, path: Path, light: KdfCost) -> None:
        before = path.read_bytes()
        with pytest.raises(VaultExists):
            Vault.create(path, PASSPHRASE, cost=light)
        assert path.read_bytes() == before

    def test_no_vault_no_secret(self, tmp_path: Path) -> None:
        with pytest.raises(SecretMissing):
            Vault.open(tmp_path / "none.json", PASSPHRASE)

    def test_an_empty_passphrase_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="passphrase"):
            Vault.create(tmp_path / "v.json", SecretText(""))

    def test_unicode_forms_of_one_passphrase_are_one(self, tmp_path: Path, light: KdfCost) -> None:
        Vault.create(tmp_path / "v.json", SecretText("caf\u00e9"), cost=light)
        Vault.open(tmp_path / "v.json", SecretText("cafe\u0301"))

    def test_a_stale_copy_does_not_overwrite_newer_rows(self, path: Path) -> None:
        first, second = Vault.open(path, PASSPHRASE), Vault.open(path, PASSPHRASE)
        first.put("house", "one", Secret(b"1"))
        with pytest.raises(VaultLocked):
            second.put("house", "two", Secret(b"2"))
        assert Vault.open(path, PASSPHRASE).get("house", "one") == Secret(b"1")


class TestWrongPassphrase:
    def test_it_is_refused_and_not_repeated(self, path: Path) -> None:
        guess = SecretText("-".join(["canary", "guess"]))
        with pytest.raises(WrongPassphrase) as caught:
            Vault.open(path, guess)
        report = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        assert "canary-guess" not in "".join(report.format())

    def test_a_guess_pays_the_stored_price(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """64 MiB and three passes of argon2id run for a wrong guess as for a right one."""
        Vault.create(tmp_path / "v.json", PASSPHRASE)
        asked: list[dict[str, Any]] = []
        real = kdf_module.hash_secret_raw

        def spy(*args: Any, **options: Any) -> bytes:
            asked.append(options)
            return real(*args, **options)

        monkeypatch.setattr(kdf_module, "hash_secret_raw", spy)
        started = time.process_time()
        with pytest.raises(WrongPassphrase):
            Vault.open(tmp_path / "v.json", SecretText("wrong"))
        assert time.process_time() - started > 0.05
        assert [options["memory_cost"] for options in asked] == [64 * 1024]
        assert [options["time_cost"] for options in asked] == [3]
        assert KdfCost(memory_kib=64 * 1024, passes=3, lanes=4) == DEFAULT_COST

    @pytest.mark.parametrize("cost", [(1024, 3, 4), (2**21, 3, 4), (65536, 0, 4), (65536, 99, 1)])
    def test_absurd_costs_are_refused(self, path: Path, cost: tuple[int, int, int]) -> None:
        with pytest.raises(ValueError, match="bounds"):
            KdfCost(*cost)

        def change(document: dict[str, Any]) -> None:
            names = ("memory_kib", "passes", "lanes")
            document["kdf"] |= dict(zip(names, cost, strict=True))

        _rewrite(path, change)
        with pytest.raises(VaultCorrupt):
            Vault.open(path, PASSPHRASE)


class TestTampering:
    def test_two_swapped_rows_are_refused(self, path: Path) -> None:
        """The attacker exchanges the sealed values: the hot key under the mnemonic's name."""

        def swap(document: dict[str, Any]) -> None:
            one, two = document["rows"]
            for name in ("nonce", "sealed"):
                one[name], two[name] = two[name], one[name]

        _rewrite(path, swap)
        with pytest.raises(VaultCorrupt):
            Vault.open(path, PASSPHRASE)

    def test_associated_data_alone_refuses_a_swap(self, path: Path) -> None:
        """Even past the seal over all rows: owner, purpose and version bind each ciphertext."""
        vault = Vault.open(path, PASSPHRASE)
        one, two = vault._rows[("house", "hot-key/0")], vault._rows[("house", "mnemonic")]
        vault._rows = {("house", "hot-key/0"): two, ("house", "mnemonic"): one}
        for purpose in ("hot-key/0", "mnemonic"):
            with pytest.raises(VaultCorrupt):
                vault.get("house", purpose)
        vault._rows = {("other", "hot-key/0"): one, ("house", "mnemonic"): two | {"version": 2}}
        with pytest.raises(VaultCorrupt):
            vault.get("other", "hot-key/0")
        with pytest.raises(VaultCorrupt):
            vault.get("house", "mnemonic")

    def test_names_that_join_alike_are_not_alike(self, path: Path) -> None:
        vault = Vault.open(path, PASSPHRASE)
        vault.put("a|b", "c", Secret(b"1"))
        vault._rows[("a", "b|c")] = vault._rows[("a|b", "c")]
        with pytest.raises(VaultCorrupt):
            vault.get("a", "b|c")

    def test_a_dropped_row_is_noticed(self, path: Path) -> None:
        _rewrite(path, lambda document: document["rows"].pop())
        with pytest.raises(VaultCorrupt):
            Vault.open(path, PASSPHRASE)

    def test_a_rolled_back_row_is_noticed(self, path: Path) -> None:
        old = json.loads(path.read_text())["rows"][0]
        Vault.open(path, PASSPHRASE).put("house", "hot-key/0", Secret(b"new"))

        def roll_back(document: dict[str, Any]) -> None:
            document["rows"][0] = old

        _rewrite(path, roll_back)
        with pytest.raises(VaultCorrupt):
            Vault.open(path, PASSPHRASE)

    def test_any_flipped_byte_is_refused(self, path: Path) -> None:
        """Every seventh byte of the file, one bit each: never opened, never a foreign error."""
        content = path.read_bytes()
        for position in range(0, len(content), 7):
            flipped = bytearray(content)
            flipped[position] ^= 0x01
            path.write_bytes(bytes(flipped))
            if _same_json(bytes(flipped), content):
                continue
            with pytest.raises(VaultCorrupt):
                Vault.open(path, PASSPHRASE)

    @pytest.mark.parametrize("field", ["nonce", "sealed"])
    def test_a_flipped_byte_with_a_right_checksum_is_refused(self, path: Path, field: str) -> None:
        def flip_row(document: dict[str, Any]) -> None:
            document["rows"][0][field] = _flip(document["rows"][0][field])

        content = path.read_bytes()
        _rewrite(path, flip_row)
        with pytest.raises(VaultCorrupt):
            Vault.open(path, PASSPHRASE)
        path.write_bytes(content)

        def flip_key(document: dict[str, Any]) -> None:
            document["data_key"][field] = _flip(document["data_key"][field])

        _rewrite(path, flip_key)
        with pytest.raises(WrongPassphrase):
            Vault.open(path, PASSPHRASE)

    @pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b"{" * 5000])
    def test_garbage_is_refused(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        with pytest.raises(VaultCorrupt):
            Vault.open(path, PASSPHRASE)


class TestRotate:
    def test_only_the_new_passphrase_opens(self, path: Path, light: KdfCost) -> None:
        before = json.loads(path.read_text())
        vault = Vault.open(path, PASSPHRASE)
        vault.rotate(SecretText("the new one"), cost=light)
        assert vault.get("house", "mnemonic") == SEED
        with pytest.raises(WrongPassphrase):
            Vault.open(path, PASSPHRASE)
        again = Vault.open(path, SecretText("the new one"))
        assert again.get("house", "hot-key/0") == HOT
        assert again.names() == [("house", "hot-key/0"), ("house", "mnemonic")]
        after = json.loads(path.read_text())
        assert after["kdf"]["salt"] != before["kdf"]["salt"]
        assert not {row["sealed"] for row in after["rows"]} & {
            row["sealed"] for row in before["rows"]
        }

    def test_an_old_row_does_not_open_in_the_rotated_vault(
        self, path: Path, light: KdfCost
    ) -> None:
        vault = Vault.open(path, PASSPHRASE)
        old = dict(vault._rows[("house", "mnemonic")])
        vault.rotate(SecretText("the new one"), cost=light)
        vault._rows[("house", "mnemonic")] = old
        with pytest.raises(VaultCorrupt):
            vault.get("house", "mnemonic")

    def test_it_goes_on_working_afterwards(self, path: Path, light: KdfCost) -> None:
        vault = Vault.open(path, PASSPHRASE)
        vault.rotate(SecretText("second"), cost=light)
        vault.put("house", "extra", Secret(b"x"))
        vault.rotate(SecretText("third"), cost=light)
        assert Vault.open(path, SecretText("third")).get("house", "extra") == Secret(b"x")


class TestKdf:
    def test_another_salt_is_another_key(self, light: KdfCost) -> None:
        one, two = Kdf.fresh(light), Kdf.fresh(light)
        assert one.key(PASSPHRASE) == one.key(PASSPHRASE)
        assert one.key(PASSPHRASE) != two.key(PASSPHRASE)
        assert Kdf.from_document(one.document()) == one


def _flip(text: str) -> str:
    return format(int(text[0], 16) ^ 1, "x") + text[1:]


def _same_json(one: bytes, two: bytes) -> bool:
    """True when a flipped byte changed white space or hex case only, and so nothing at all."""
    try:
        return bool(json.loads(one) == json.loads(two))
    except ValueError:
        return False

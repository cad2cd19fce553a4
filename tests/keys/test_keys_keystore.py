"""Web3 Secret Storage v3: the public vectors, and files that must not be believed."""

from __future__ import annotations

import copy
import json
import traceback
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from keys import keystore
from keys.errors import InvalidKeystore
from keys.secret import Secret, SecretText

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent / "vectors" / "keystore_v3.json").read_text("utf-8")
)


class TestDecrypt:
    @pytest.mark.parametrize("name", sorted(VECTORS))
    def test_the_vectors(self, name: str) -> None:
        case = VECTORS[name]
        key = keystore.decrypt(case["json"], SecretText(case["password"]))
        assert key.reveal().hex() == case["priv"]

    def test_a_wrong_password_is_not_repeated(self) -> None:
        password = SecretText("-".join(["canary", "password"]))
        with pytest.raises(InvalidKeystore) as caught:
            keystore.decrypt(VECTORS["test1"]["json"], password)
        report = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        assert "canary-password" not in "".join(report.format())
        assert caught.value.__context__ is None

    def test_an_altered_ciphertext_is_refused(self) -> None:
        altered = copy.deepcopy(VECTORS["test1"]["json"])
        text = altered["crypto"]["ciphertext"]
        altered["crypto"]["ciphertext"] = ("0" if text[0] != "0" else "1") + text[1:]
        with pytest.raises(InvalidKeystore):
            keystore.decrypt(altered, SecretText("testpassword"))

    def test_an_altered_mac_is_refused(self) -> None:
        altered = copy.deepcopy(VECTORS["test1"]["json"])
        text = altered["crypto"]["mac"]
        altered["crypto"]["mac"] = ("0" if text[0] != "0" else "1") + text[1:]
        with pytest.raises(InvalidKeystore):
            keystore.decrypt(altered, SecretText("testpassword"))

    @pytest.mark.parametrize(
        ("kdf", "parameters"),
        [
            ("scrypt", {"n": 2**30, "r": 8, "p": 1}),
            ("scrypt", {"n": 2**14, "r": 8, "p": 10_000}),
            ("scrypt", {"n": 2, "r": 8, "p": 1, "dklen": 10**9}),
            ("scrypt", {"n": 2, "r": 8, "p": 1, "dklen": 16}),
            ("pbkdf2", {"c": 10**12}),
            ("scrypt", {"n": -1, "r": 8, "p": 1}),
            ("scrypt", {"n": "262144", "r": 8, "p": 1}),
            ("scrypt", {"n": True, "r": 8, "p": 1}),
        ],
    )
    def test_absurd_work_is_refused_before_it_begins(
        self, kdf: str, parameters: dict[str, Any]
    ) -> None:
        greedy = copy.deepcopy(VECTORS["test1"]["json"])
        greedy["crypto"]["kdf"] = kdf
        greedy["crypto"]["kdfparams"] |= parameters
        with pytest.raises(InvalidKeystore):
            keystore.decrypt(greedy, SecretText("testpassword"))

    def test_names_that_differ_in_case_hide_no_work(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The library folds names: the last spelling would win over the one that was measured."""
        given: list[dict[str, Any]] = []

        def decrypt(document: dict[str, Any], _password: str) -> bytes:
            given.append(document)
            return b""

        monkeypatch.setattr(Account, "decrypt", decrypt)
        hidden = copy.deepcopy(VECTORS["test2"]["json"])
        hidden["crypto"]["kdfparams"] |= {"N": 2**40, "P": 9_999}
        hidden["CRYPTO"] = copy.deepcopy(hidden["crypto"])
        hidden["CRYPTO"]["kdfparams"]["n"] = 2**40
        with pytest.raises(InvalidKeystore):
            keystore.decrypt(hidden, SecretText("testpassword"))
        [document] = given
        assert set(document) == {"version", "crypto"}
        assert set(document["crypto"]["kdfparams"]) == {"dklen", "n", "r", "p", "salt"}
        assert document["crypto"]["kdfparams"]["n"] == 262_144

    def test_the_signer_takes_geths_cost_and_no_more(self) -> None:
        made = keystore.encrypt(Secret(bytes.fromhex(VECTORS["test1"]["priv"])), SecretText("x"))
        assert made["crypto"]["kdfparams"]["n"] == 262_144
        key = keystore.decrypt(made, SecretText("x"), keystore.SIGNER)
        assert key.reveal().hex() == VECTORS["test1"]["priv"]
        made["crypto"]["kdfparams"]["n"] *= 2
        with pytest.raises(InvalidKeystore, match="too much work"):
            keystore.decrypt(made, SecretText("x"), keystore.SIGNER)

    @pytest.mark.parametrize("many", [{"r": 1, "p": 2**20}, {"r": 2**20, "p": 1}])
    def test_many_cheap_lanes_are_refused_unopened(
        self, many: dict[str, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What they start with grows by 32 bytes and is copied whole each time: days for these."""
        opened: list[object] = []
        monkeypatch.setattr(Account, "decrypt", lambda *given: opened.append(given) or b"")
        made = copy.deepcopy(VECTORS["test2"]["json"])
        made["crypto"]["kdfparams"] |= {"n": 2, **many}
        with pytest.raises(InvalidKeystore, match="too much work"):
            keystore.decrypt(made, SecretText("testpassword"), keystore.SIGNER)
        assert opened == []

    @pytest.mark.parametrize("address", ["0x" + "11" * 20, "not an address", 5])
    def test_a_file_that_names_another_address(self, address: object) -> None:
        named = VECTORS["test1"]["json"] | {"address": "008aeeda4d805471df9b2a5b0f38a0c3bcba786b"}
        key = keystore.decrypt(named, SecretText("testpassword"))
        assert key.reveal().hex() == VECTORS["test1"]["priv"]
        with pytest.raises(InvalidKeystore):
            keystore.decrypt(named | {"address": address}, SecretText("testpassword"))

    @pytest.mark.parametrize("plain", [b"", bytes(32), b"\xff" * 32, b"\1" * 31])
    def test_what_is_inside_must_be_a_key(
        self, plain: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Account, "decrypt", lambda *_: plain)
        with pytest.raises(InvalidKeystore, match="no private key"):
            keystore.decrypt(VECTORS["test1"]["json"], SecretText("testpassword"))

    @pytest.mark.parametrize(
        "change",
        [
            {"version": 4},
            {"version": "3"},
            {"crypto": []},
            {"crypto": {"kdfparams": {}}},
            {"crypto": VECTORS["test1"]["json"]["crypto"] | {"cipher": "aes-128-cbc"}},
            {"crypto": VECTORS["test1"]["json"]["crypto"] | {"kdf": "argon2id"}},
            {"crypto": VECTORS["test1"]["json"]["crypto"] | {"mac": None}},
        ],
    )
    def test_malformed_files(self, change: dict[str, Any]) -> None:
        with pytest.raises(InvalidKeystore):
            keystore.decrypt(VECTORS["test1"]["json"] | change, SecretText("testpassword"))

    @pytest.mark.parametrize("text", [b"", b"[]", b"{", b"[" * 50_000, b" " * 70_000, b"\xff{}"])
    def test_what_is_no_object_is_refused(self, text: bytes) -> None:
        with pytest.raises(InvalidKeystore):
            keystore.parse(text)

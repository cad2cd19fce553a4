"""Web3 Secret Storage v3: the public vectors, and files that must not be believed."""

from __future__ import annotations

import copy
import json
import traceback
from pathlib import Path
from typing import Any

import pytest

from keys import keystore
from keys.errors import InvalidKeystore
from keys.secret import SecretText

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

    @pytest.mark.parametrize(
        ("kdf", "parameters"),
        [
            ("scrypt", {"n": 2**30, "r": 8, "p": 1}),
            ("scrypt", {"n": 2**14, "r": 8, "p": 10_000}),
            ("pbkdf2", {"c": 10**12}),
            ("scrypt", {"n": -1, "r": 8, "p": 1}),
            ("scrypt", {"n": "262144", "r": 8, "p": 1}),
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

    @pytest.mark.parametrize("broken", [{}, {"crypto": []}, {"crypto": {"kdfparams": {}}}])
    def test_malformed_files(self, broken: dict[str, Any]) -> None:
        with pytest.raises(InvalidKeystore):
            keystore.decrypt(broken, SecretText("testpassword"))

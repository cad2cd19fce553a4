"""Web3 Secret Storage version 3 (geth's key files), by eth-account.

A file from outside is read strictly first: the library folds names that differ in case and takes
other versions, so what its cost was measured on must be all that it is given.

Source: https://ethereum.org/developers/docs/data-structures-and-encoding/web3-secret-storage/.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from eth_account import Account

from keys.address import address_of
from keys.errors import InvalidDerivation, InvalidKeystore
from keys.secret import Secret, SecretText

VERSION: Final = 3
CIPHER: Final = "aes-128-ctr"
PSEUDORANDOM: Final = "hmac-sha256"
KEY_BYTES: Final = 32
MAX_FILE_BYTES: Final = 65_536
MAX_DERIVED_BYTES: Final = 64
MAX_LANES_BYTES: Final = 16_384
"""What all lanes of scrypt start with (128 r p; 1,024 by geth's standard). The library makes it 32
bytes at a time, in Python, and copies all of it each time: a few megabytes take it minutes."""
LIBRARY_ERRORS: Final = (ValueError, TypeError, KeyError, AttributeError, NotImplementedError)
_ADDRESS: Final = re.compile(r"(?:0x)?([0-9a-fA-F]{40})")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much work a file may ask for: bytes that scrypt writes, all lanes together (128 n r p,
    never less than its memory), and rounds of PBKDF2."""

    scrypt_bytes: int
    pbkdf2_rounds: int


OPERATOR: Final = Limits(1024 * 1024 * 1024, 10_000_000)
"""In a command of its own."""
SIGNER: Final = Limits(256 * 1024 * 1024, 2_000_000)
"""In the signer process: geth's standard cost and no more."""


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The file as JSON; not yet believed. Raises `InvalidKeystore`, `OSError`."""
    with Path(path).open("rb") as file:
        return parse(file.read(MAX_FILE_BYTES + 1))


def parse(text: bytes | str) -> dict[str, Any]:
    """One JSON object of at most 64 KiB. Raises `InvalidKeystore`."""
    document = None
    if len(text) <= MAX_FILE_BYTES:
        with contextlib.suppress(ValueError, RecursionError):
            document = json.loads(text)
    if not isinstance(document, dict):
        raise InvalidKeystore("malformed key file")
    return document


def decrypt(keystore: Mapping[str, Any], password: SecretText, limits: Limits = OPERATOR) -> Secret:
    """The 32-byte private key. Raises `InvalidKeystore` for a wrong password or MAC, a malformed
    file, one that names another address than its key's, and for parameters beyond `limits`."""
    plain = _plain(keystore, limits)
    key = None
    with contextlib.suppress(*LIBRARY_ERRORS):  # raised below: its frames hold the password
        key = Secret(bytes(Account.decrypt(plain, password.reveal())))
    if key is None:
        raise InvalidKeystore("malformed key file or wrong password")
    _check_key(key, keystore.get("address"))
    return key


def encrypt(key: Secret, password: SecretText) -> dict[str, Any]:
    """A key file (scrypt, geth's standard cost) that other wallets open.

    Raises `InvalidKeystore` for an empty password. Whose key it may be is the caller's to decide:
    see `keys.backup`.
    """
    if not password.reveal():
        raise InvalidKeystore("a key file needs a password")
    document: dict[str, Any] = Account.encrypt(key.reveal(), password.reveal(), kdf="scrypt")
    return document


def _plain(keystore: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """What the library gets: the fields of the standard, once each, within `limits`."""
    crypto = keystore.get("crypto") or keystore.get("Crypto")
    if keystore.get("version") != VERSION or not isinstance(crypto, Mapping):
        raise InvalidKeystore("not a key file of version 3")
    parameters, cipher = crypto.get("kdfparams"), crypto.get("cipherparams")
    if not isinstance(parameters, Mapping) or not isinstance(cipher, Mapping):
        raise InvalidKeystore("malformed key file")
    texts = {name: crypto.get(name) for name in ("cipher", "ciphertext", "kdf", "mac")}
    texts |= {"salt": parameters.get("salt"), "iv": cipher.get("iv")}
    if any(not isinstance(text, str) for text in texts.values()) or texts["cipher"] != CIPHER:
        raise InvalidKeystore("malformed key file")
    names: tuple[str, ...] = ("dklen", "n", "r", "p")
    if texts["kdf"] == "pbkdf2":
        names = ("dklen", "c")
        if parameters.get("prf") != PSEUDORANDOM:
            raise InvalidKeystore("a key file uses HMAC-SHA256")
    elif texts["kdf"] != "scrypt":
        raise InvalidKeystore("a key file uses scrypt or PBKDF2")
    cost = {name: parameters.get(name) for name in names}
    _check_cost(cost, limits)
    return {
        "version": VERSION,
        "crypto": {
            **{name: texts[name] for name in ("cipher", "ciphertext", "kdf", "mac")},
            "cipherparams": {"iv": texts["iv"]},
            "kdfparams": {**cost, "salt": texts["salt"]}
            | ({"prf": PSEUDORANDOM} if "c" in cost else {}),
        },
    }


def _check_cost(cost: Mapping[str, Any], limits: Limits) -> None:
    """A file from outside may not exhaust the host."""
    if any(type(number) is not int or number < 1 for number in cost.values()):
        raise InvalidKeystore("malformed key derivation parameters")
    lanes = 128 * cost.get("r", 1) * cost.get("p", 1)
    if (
        not KEY_BYTES <= cost["dklen"] <= MAX_DERIVED_BYTES
        or lanes > MAX_LANES_BYTES
        or lanes * cost.get("n", 1) > limits.scrypt_bytes
        or cost.get("c", 1) > limits.pbkdf2_rounds
    ):
        raise InvalidKeystore("the key file asks for too much work")


def _check_key(key: Secret, named: object) -> None:
    """A key of the curve, and the one the file names, where it names one."""
    address = None
    if len(key.reveal()) == KEY_BYTES:
        with contextlib.suppress(InvalidDerivation):
            address = address_of(key)
    if address is None:
        raise InvalidKeystore("the key file holds no private key")
    if named is None or named == "":
        return
    found = _ADDRESS.fullmatch(named) if isinstance(named, str) else None
    if found is None or found[1].lower() != address[2:].lower():
        raise InvalidKeystore("the key file names another address than its key's")

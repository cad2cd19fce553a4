"""Web3 Secret Storage version 3 (geth's key files), by eth-account.

Keys of deposit addresses are never written: one of them and the account's xpub give all the others.

Source: https://ethereum.org/developers/docs/data-structures-and-encoding/web3-secret-storage/.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final

from eth_account import Account

from keys.errors import InvalidKeystore
from keys.secret import Secret, SecretText

MAX_SCRYPT_BYTES: Final = 512 * 1024 * 1024
MAX_SCRYPT_LANES: Final = 16
MAX_PBKDF2_ROUNDS: Final = 10_000_000
LIBRARY_ERRORS: Final = (ValueError, TypeError, KeyError, AttributeError, NotImplementedError)


def decrypt(keystore: Mapping[str, Any], password: SecretText) -> Secret:
    """The 32-byte private key. Raises `InvalidKeystore` for a wrong password or MAC, a malformed
    file, and for parameters that would take more than 512 MiB or ten million rounds."""
    _check_cost(keystore)
    key = None
    with contextlib.suppress(*LIBRARY_ERRORS):  # raised below: its frames hold the password
        key = Secret(bytes(Account.decrypt(dict(keystore), password.reveal())))
    if key is None:
        raise InvalidKeystore("malformed key file or wrong password")
    return key


def encrypt(key: Secret, password: SecretText) -> dict[str, Any]:
    """A key file (scrypt, geth's standard cost) that other wallets open.

    Raises `InvalidKeystore` for an empty password. Whose key it may be is the caller's to decide:
    see `export_hot`.
    """
    if not password.reveal():
        raise InvalidKeystore("a key file needs a password")
    document: dict[str, Any] = Account.encrypt(key.reveal(), password.reveal(), kdf="scrypt")
    return document


def _check_cost(keystore: Mapping[str, Any]) -> None:
    """A file from outside may not exhaust the host."""
    crypto = keystore.get("crypto") or keystore.get("Crypto")
    parameters = crypto.get("kdfparams") if isinstance(crypto, Mapping) else None
    if not isinstance(parameters, Mapping):
        raise InvalidKeystore("malformed key file")
    n, r, p, c = (parameters.get(name, 1) for name in ("n", "r", "p", "c"))
    if any(type(number) is not int or number < 1 for number in (n, r, p, c)):
        raise InvalidKeystore("malformed key derivation parameters")
    if 128 * n * r > MAX_SCRYPT_BYTES or p > MAX_SCRYPT_LANES or c > MAX_PBKDF2_ROUNDS:
        raise InvalidKeystore("the key file asks for too much work")

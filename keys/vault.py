"""The vault: secrets at rest in one file that is useless without its passphrase.

A random data key seals every row with AES-256-GCM; owner, purpose and version are associated data,
so that a row moved to another's place does not open. Argon2id turns the passphrase into the key
that wraps the data key. A keyed seal over all rows notices a dropped or rolled-back row, a plain
checksum tells damage from a wrong passphrase. Written whole (temporary file, fsync, rename), 0600.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keys.errors import SecretMissing, VaultCorrupt, VaultExists, VaultLocked, WrongPassphrase
from keys.files import in_words, write_atomically
from keys.kdf import Kdf, KdfCost
from keys.secret import Secret, SecretText

VAULT_FILE: Final = "vault.json"
FORMAT: Final = "bifold vault 1"
NONCE_BYTES: Final = 12
DATA_KEY_BYTES: Final = 32
MAX_FILE_BYTES: Final = 1_048_576
DEFAULT_COST: Final = KdfCost()
Name = tuple[str, str]
"""Owner and purpose."""


class Vault:
    """An opened vault. Use `create` or `open`; every change is on disk when the method returns."""

    def __init__(self, path: Path, kdf: Kdf, key_encryption_key: Secret) -> None:
        self.path = path
        self._kdf = kdf
        self._kek = key_encryption_key
        self._data_key = Secret(os.urandom(DATA_KEY_BYTES))
        self._rows: dict[Name, dict[str, Any]] = {}
        self._checksum = ""

    def __repr__(self) -> str:
        return f"Vault({self.path.name}, {len(self._rows)} rows)"

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        passphrase: SecretText,
        *,
        contents: Mapping[Name, Secret] | None = None,
        cost: KdfCost = DEFAULT_COST,
    ) -> Self:
        """A new vault, complete with `contents` from its first byte on disk. Raises `VaultExists`,
        and `ValueError` for an empty passphrase."""
        file = Path(path)
        vault = cls(file, *_fresh_key(passphrase, cost))
        for name, secret in (contents or {}).items():
            vault._seal(name, secret, version=1)
        with _locked(file.parent):
            if file.exists():
                raise VaultExists(f"{file.name} already exists")
            vault._write()
        return vault

    @classmethod
    def open(cls, path: str | os.PathLike[str], passphrase: SecretText) -> Self:
        """Open an existing vault at the full cost stored in it. Raises `WrongPassphrase`,
        `VaultCorrupt` (damaged, altered) or `SecretMissing` (no such file)."""
        file = Path(path)
        document = _read(file)
        kdf = Kdf.from_document(document.get("kdf"))
        vault = cls(file, kdf, kdf.key(passphrase))
        vault._load(document)
        return vault

    def names(self) -> list[Name]:
        """The (owner, purpose) of every row, in the order they were first put."""
        return list(self._rows)

    def get(self, owner: str, purpose: str) -> Secret:
        """The secret. Raises `SecretMissing`, or `VaultCorrupt` when the row does not open."""
        row = self._rows.get((owner, purpose))
        if row is None:
            raise SecretMissing(f"the vault has no {purpose} of {owner}")
        aad = _row_aad((owner, purpose), row["version"])
        opened = _open(self._data_key, row["nonce"], row["sealed"], aad)
        if opened is None:
            raise VaultCorrupt(f"the row {purpose} of {owner} does not open")
        return opened

    def put(self, owner: str, purpose: str, secret: Secret) -> None:
        """Store or replace a secret; its version counts up. Raises `VaultLocked` when the file was
        changed by another process since it was opened."""
        row = self._rows.get((owner, purpose))
        self._seal((owner, purpose), secret, version=row["version"] + 1 if row else 1)
        self._save()

    def rotate(self, new_passphrase: SecretText, *, cost: KdfCost = DEFAULT_COST) -> None:
        """A new passphrase, salt and data key; every row is sealed anew. The old passphrase opens
        nothing afterwards (but opens old copies of the file: destroy backups)."""
        secrets = {name: self.get(*name) for name in self._rows}
        fresh = type(self)(self.path, *_fresh_key(new_passphrase, cost))
        fresh._checksum = self._checksum
        for name, secret in secrets.items():
            fresh._seal(name, secret, version=self._rows[name]["version"] + 1)
        fresh._save()
        self._kdf, self._kek, self._data_key = fresh._kdf, fresh._kek, fresh._data_key
        self._rows, self._checksum = fresh._rows, fresh._checksum

    def _seal(self, name: Name, secret: Secret, *, version: int) -> None:
        nonce = os.urandom(NONCE_BYTES)
        sealed = AESGCM(self._data_key.reveal()).encrypt(
            nonce, secret.reveal(), _row_aad(name, version)
        )
        self._rows[name] = {"version": version, "nonce": nonce.hex(), "sealed": sealed.hex()}

    def _save(self) -> None:
        with _locked(self.path.parent):
            if _read(self.path)["checksum"] != self._checksum:
                raise VaultLocked("another process changed the vault; open it again")
            self._write()

    def _write(self) -> None:
        nonce = os.urandom(NONCE_BYTES)
        wrapped = AESGCM(self._kek.reveal()).encrypt(
            nonce, self._data_key.reveal(), _key_aad(self._kdf.document())
        )
        rows = [
            {"owner": owner, "purpose": purpose, **row}
            for (owner, purpose), row in self._rows.items()
        ]
        document: dict[str, Any] = {
            "format": FORMAT,
            "kdf": self._kdf.document(),
            "data_key": {"nonce": nonce.hex(), "sealed": wrapped.hex()},
            "rows": rows,
            "seal": _rows_seal(self._data_key, rows),
        }
        document["checksum"] = _checksum(document)
        write_atomically(self.path, json.dumps(document, indent=1).encode("utf-8") + b"\n")
        self._checksum = document["checksum"]

    def _load(self, document: dict[str, Any]) -> None:
        try:
            wrapped, rows = document["data_key"], document["rows"]
            data_key = _open(
                self._kek, wrapped["nonce"], wrapped["sealed"], _key_aad(document["kdf"])
            )
            if data_key is None:
                raise WrongPassphrase
            if not hmac.compare_digest(document["seal"], _rows_seal(data_key, rows)):
                raise VaultCorrupt("rows of the vault were altered, dropped or rolled back")
            for row in rows:
                fields = {name: row[name] for name in ("version", "nonce", "sealed")}
                self._rows[(row["owner"], row["purpose"])] = fields
        except (KeyError, TypeError) as error:
            raise VaultCorrupt("the vault file is malformed") from error
        self._data_key = data_key
        self._checksum = document["checksum"]


def _fresh_key(passphrase: SecretText, cost: KdfCost) -> tuple[Kdf, Secret]:
    if not passphrase.reveal():
        raise ValueError("a vault needs a passphrase")
    kdf = Kdf.fresh(cost)
    return kdf, kdf.key(passphrase)


def _open(key: Secret, nonce: str, sealed: str, aad: bytes) -> Secret | None:
    """The plaintext, or None when key, nonce, ciphertext or associated data do not fit."""
    try:
        plain = AESGCM(key.reveal()).decrypt(bytes.fromhex(nonce), bytes.fromhex(sealed), aad)
    except (InvalidTag, ValueError):
        return None
    return Secret(plain)


def _read(path: Path) -> dict[str, Any]:
    """The file's object, its format and checksum checked. Raises `VaultCorrupt`, and
    `SecretMissing` when it is not there or not readable."""
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(MAX_FILE_BYTES))
    except OSError as error:
        raise SecretMissing(in_words(error, "vault", path)) from None
    except ValueError as error:
        raise VaultCorrupt("the vault file is not JSON") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise VaultCorrupt("the vault file is of an unknown format")
    if document.get("checksum") != _checksum(document):
        raise VaultCorrupt("the vault file is damaged (checksum)")
    return document


def _checksum(document: dict[str, Any]) -> str:
    body = {name: value for name, value in document.items() if name != "checksum"}
    return hashlib.sha256(_canonical(body)).hexdigest()


def _rows_seal(data_key: Secret, rows: list[dict[str, Any]]) -> str:
    seal_key = hmac.digest(data_key.reveal(), b"bifold vault seal 1", "sha256")
    return hmac.digest(seal_key, _canonical(rows), "sha256").hex()


def _row_aad(name: Name, version: int) -> bytes:
    return _canonical([FORMAT, "row", *name, version])


def _key_aad(kdf: dict[str, Any]) -> bytes:
    return _canonical([FORMAT, "data key", kdf])


def _canonical(value: object) -> bytes:
    """One spelling of a JSON value; unlike `a|b` joining, no two lists share it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One writer at a time per folder, across processes."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)

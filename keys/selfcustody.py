"""Accounts whose words belong to a person: sealed under a passphrase that the signer alone sees,
opened for one transaction at a time.

The sealed account lies with the caller, who cannot open it. A grant opens it for exactly one
payment (chain, recipient, asset, amount, highest fee) and for two minutes; then its key is gone.
An account is words or the key of a Web3 key file; its owner may have it back as such a file.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from eth_utils.address import to_checksum_address

from keys import keystore
from keys import mnemonic as bip39
from keys.address import address_of
from keys.book import Entry
from keys.calls import NATIVE, TRANSFER, TRANSFER_SELECTOR, arguments
from keys.derivation import derive_key
from keys.desk import check_intent, sign_exactly
from keys.errors import InvalidKeystore, KeysError, SignerRefused, VaultCorrupt
from keys.journal import Journal
from keys.kdf import Kdf, KdfCost
from keys.payload import UnsignedTx, decode_unsigned
from keys.policy import MAX_GAS, MIN_GAS, Policy
from keys.request import GRANT_SECONDS, SignedTx
from keys.sealing import NONCE_BYTES, Opener, reply
from keys.secret import Secret, SecretText

MAX_GRANTS: Final = 1_000
WRONG_TRIES: Final = 5
LOCKED_SECONDS: Final = 900.0
MAX_SEEN: Final = 100_000
"""So many requests are remembered against repetition; then the key changes, which ends all boxes
that were sealed for it, and they are forgotten."""
MIN_PASSPHRASE: Final = 10
MAX_INDEX: Final = 100
ACCOUNT: Final = "bifold self-custody account 1"
PATHS: Final = {"metamask": "m/44'/60'/0'/0/{}", "ledger-live": "m/44'/60'/{}'/0/0"}
"""How common wallets count their accounts."""


@dataclass(slots=True)
class _Grant:
    """One payment that may be signed until `until`; `payload` is what was signed for it."""

    principal: str
    address: str
    key: Secret
    terms: tuple[int, str, str, int]
    max_fee_wei: int
    until: float
    payload: bytes | None = None


class SelfCustodyDesk:
    """Makes, opens and uses people's own accounts. Holds a key only while a grant lives."""

    def __init__(
        self,
        *,
        journal: Journal,
        policy: Policy,
        pepper: Secret,
        cost: KdfCost | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`pepper` goes into every sealing: at a stolen database alone nobody can guess."""
        self.opener = Opener()
        self.journal = journal
        self._policy = policy
        self._pepper = hmac.digest(pepper.reveal(), b"bifold self-custody pepper 1", "sha256")
        self._cost = cost if cost is not None else KdfCost()
        self._clock = clock
        self._grants: dict[str, _Grant] = {}
        self._wrong: dict[str, tuple[int, float]] = {}
        self._seen: set[tuple[str, str]] = set()
        self._one_file = threading.Lock()
        self._opening = threading.Lock()
        """One request is opened at a time, so that two at once are still counted as two."""
        self._granting = threading.Lock()

    def __repr__(self) -> str:
        return f"SelfCustodyDesk({len(self._grants)} grants)"

    def open(
        self,
        *,
        purpose: str,
        principal: str,
        request_id: str,
        box: dict[str, Any],
        account: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Do what a box asks for: `create`, `import`, `grant` or `export`; each request once.

        Raises `SignerRefused`: `box_not_opened`, `request_repeated`, `malformed_request`,
        `passphrase_too_short`, `invalid_mnemonic`, `invalid_key_file`, `wrong_passphrase`,
        `account_locked`.
        """
        with self._opening:
            return self._opened(purpose, principal, request_id, box, account)

    def _opened(
        self,
        purpose: str,
        principal: str,
        request_id: str,
        box: dict[str, Any],
        account: dict[str, Any] | None,
    ) -> dict[str, Any]:
        if (principal, request_id) in self._seen:
            raise SignerRefused("request_repeated", "this request was answered before")
        if len(self._seen) >= MAX_SEEN:
            self.opener, self._seen = Opener(), set()
        context = (purpose, principal, request_id)
        asked, key = self.opener.open(box, context)
        self._seen.add((principal, request_id))
        try:
            if purpose == "create":
                made, words = self._create(principal, asked)
                told = {"mnemonic": words.reveal(), "address": made["address"]}
                return {"account": made, "reply": reply(key, context, told)}
            if purpose == "import" and "keystore" in asked:
                return {"account": self._from_file(principal, asked)}
            if purpose == "import":
                words = SecretText(str(asked["mnemonic"]))
                return {"account": self._from_words(principal, asked, words)}
            if purpose == "grant" and account is not None:
                return self._grant(principal, asked, account)
            if purpose == "export" and account is not None:
                return {"reply": reply(key, context, self._export(principal, asked, account))}
        except SignerRefused:
            raise
        except (KeysError, KeyError, TypeError, ValueError, OverflowError):
            pass
        raise SignerRefused("malformed_request", f"not a request to {purpose[:16]}")

    def sign(
        self, *, principal: str, grant: str, payload: bytes, intent_id: str
    ) -> tuple[SignedTx, bool]:
        """Journal and sign the payment of a grant. The entry is written, not yet durable: the
        caller flushes before the bytes leave. True: it was journalled now.

        The same bytes again while the grant lives; other bytes never. Raises `SignerRefused`
        (`grant_expired`, `grant_used`, `outside_grant`, …).
        """
        self.forget()
        check_intent(intent_id)
        held = self._grants.get(grant)
        if held is None or held.principal != principal:
            raise SignerRefused("grant_expired", "there is no such grant now")
        tx = decode_unsigned(payload)
        if held.payload is not None and held.payload != payload:
            raise SignerRefused("grant_used", "a grant is for one transaction")
        self._check(held, tx)
        fresh = held.payload is None
        if fresh:
            self._write(held, tx, payload, intent_id)
            held.payload = payload
        return sign_exactly(held.key, tx, held.address), fresh

    # Accounts

    def _create(self, principal: str, asked: dict[str, Any]) -> tuple[dict[str, Any], SecretText]:
        words = bip39.generate(int(asked["words"]), str(asked["language"]))
        return self._from_words(principal, asked, words), words

    def _from_words(
        self, principal: str, asked: dict[str, Any], words: SecretText
    ) -> dict[str, Any]:
        passphrase = _long_enough(asked["passphrase"])
        index = asked.get("index", 0)
        if type(index) is not int or not 0 <= index < MAX_INDEX:
            raise SignerRefused("malformed_request", "the account's number")
        path = PATHS[str(asked.get("scheme", "metamask"))].format(index)
        extension = SecretText(str(asked.get("extension", "")))
        key = self._derive(words, extension, path)
        text = SecretText(
            json.dumps([words.reveal(), extension.reveal(), path], ensure_ascii=False)
        )
        return self._seal(principal, passphrase, address_of(key), path, text)

    def _from_file(self, principal: str, asked: dict[str, Any]) -> dict[str, Any]:
        """A Web3 key file and its password. It has no words, so no path."""
        passphrase = _long_enough(asked["passphrase"])
        key = None
        with contextlib.suppress(InvalidKeystore), self._one_file:  # a file may take 256 MiB
            key = keystore.decrypt(
                keystore.parse(str(asked["keystore"])),
                SecretText(str(asked["password"])),
                keystore.SIGNER,
            )
        if key is None:
            raise SignerRefused("invalid_key_file", "malformed, too dear, or a wrong password")
        text = SecretText(json.dumps({"key": key.reveal().hex()}))
        return self._seal(principal, passphrase, address_of(key), "", text)

    def _seal(
        self, principal: str, passphrase: SecretText, address: str, path: str, text: SecretText
    ) -> dict[str, Any]:
        """The account as the caller may keep it."""
        kdf, nonce = Kdf.fresh(self._cost), os.urandom(NONCE_BYTES)
        sealed = AESGCM(self._sealing(kdf, passphrase)).encrypt(
            nonce, text.reveal().encode("utf-8"), _bound(principal, address)
        )
        return {
            "address": address,
            "path": path,
            "kdf": kdf.document(),
            "nonce": nonce.hex(),
            "sealed": sealed.hex(),
        }

    def _export(
        self, principal: str, asked: dict[str, Any], account: dict[str, Any]
    ) -> dict[str, str]:
        """Its one key as a Web3 key file, for the browser that asked; never the words."""
        password = _long_enough(asked["password"])
        if asked["address"] != account["address"]:
            raise SignerRefused("malformed_request", "another account than the one asked for")
        key = self._unseal(principal, asked, account)
        with self._one_file:
            document = keystore.encrypt(key, password)
        return {"keystore": json.dumps(document)}

    def _derive(self, words: SecretText, extension: SecretText, path: str) -> Secret:
        key = None
        with contextlib.suppress(KeysError, ValueError):  # their frames hold the words
            bip39.check(words)
            key = derive_key(bip39.to_seed(words, extension), path)
        if key is None:
            raise SignerRefused("invalid_mnemonic", "not a BIP-39 phrase of any list")
        return key

    def _sealing(self, kdf: Kdf, passphrase: SecretText) -> bytes:
        return hmac.digest(self._pepper, kdf.key(passphrase).reveal(), "sha256")

    # Grants

    def _grant(
        self, principal: str, asked: dict[str, Any], account: dict[str, Any]
    ) -> dict[str, Any]:
        chain_id, to, asset = int(asked["chain_id"]), str(asked["to"]), str(asked["asset"])
        amount, max_fee = int(asked["amount"]), int(asked["max_fee_wei"])
        if amount < 1 or max_fee < 1 or chain_id not in self._policy.chains or chain_id == 0:
            raise SignerRefused("malformed_request", "chain, amount or fee")
        if to != to_checksum_address(to):
            raise SignerRefused("malformed_request", "the recipient is not EIP-55")
        if asked.get("address", account["address"]) != account["address"]:
            raise SignerRefused("malformed_request", "another account than the one that pays")
        key = self._unseal(principal, asked, account)
        self.forget()
        name = secrets.token_hex(16)
        terms, until = (chain_id, to, asset, amount), self._clock() + GRANT_SECONDS
        made = _Grant(principal, str(account["address"]), key, terms, max_fee, until)
        with self._granting:
            if len(self._grants) >= MAX_GRANTS:
                raise SignerRefused("too_many_grants", "try again in a minute")
            self._grants[name] = made
        return {"grant": name, "seconds": int(GRANT_SECONDS)}

    def _unseal(self, principal: str, asked: dict[str, Any], account: dict[str, Any]) -> Secret:
        """The account's key. Wrong passphrases are counted for each address, and then it waits."""
        address = str(account["address"])
        tries, until = self._wrong.get(address, (0, 0.0))
        if tries >= WRONG_TRIES and self._clock() < until:
            raise SignerRefused("account_locked", "too many wrong passphrases; wait 15 minutes")
        try:
            kdf = Kdf.from_document(account["kdf"])
        except VaultCorrupt:
            raise SignerRefused("malformed_request", "the account is damaged") from None
        plain = None
        with contextlib.suppress(InvalidTag, ValueError):
            passphrase = SecretText(str(asked["passphrase"]))
            plain = AESGCM(self._sealing(kdf, passphrase)).decrypt(
                bytes.fromhex(account["nonce"]),
                bytes.fromhex(account["sealed"]),
                _bound(principal, address),
            )
        if plain is None:
            self._wrong[address] = (tries + 1, self._clock() + LOCKED_SECONDS)
            raise SignerRefused("wrong_passphrase", "the passphrase does not open this account")
        self._wrong.pop(address, None)
        key = self._key_of(json.loads(plain))
        if address_of(key) != address:
            raise SignerRefused("malformed_request", "the account is damaged")
        return key

    def _key_of(self, opened: Any) -> Secret:
        if isinstance(opened, dict):  # of a key file
            return Secret(bytes.fromhex(opened["key"]))
        words, extension, path = opened
        return self._derive(SecretText(words), SecretText(extension), path)

    def _check(self, held: _Grant, tx: UnsignedTx) -> None:
        """Exactly the payment that was granted. Raises `SignerRefused`."""
        chain = self._policy.chains.get(tx.chain_id)
        if chain is None or not 0 < tx.cap <= chain.fee_ceiling_wei or tx.tip > tx.cap:
            raise SignerRefused("fee_above_ceiling", f"max fee {tx.cap}")
        if tx.authorizations or not MIN_GAS <= tx.gas <= MAX_GAS:
            raise SignerRefused("outside_grant", "a plain payment only")
        if tx.gas * tx.cap > held.max_fee_wei:
            raise SignerRefused("outside_grant", "the fee may pass what was granted")
        to, asset, amount = str(to_checksum_address(tx.to)), NATIVE, tx.value
        if tx.data:
            values = arguments(tx.data, TRANSFER_SELECTOR, TRANSFER)
            if values is None or tx.value != 0:
                raise SignerRefused("outside_grant", "neither coins nor a token's transfer")
            to, asset, amount = str(to_checksum_address(values[0])), to, int(values[1])
        if (tx.chain_id, to, asset, amount) != held.terms:
            raise SignerRefused("outside_grant", "another payment than the one granted")

    def _write(self, held: _Grant, tx: UnsignedTx, payload: bytes, intent_id: str) -> None:
        now = datetime.now(UTC)
        entry = Entry(
            at=now.isoformat(timespec="milliseconds"),
            day=self.journal.book.effective_day(now.date().isoformat()),
            chain_id=tx.chain_id,
            address=held.address,
            nonce=tx.nonce,
            intent_id=intent_id,
            kind="pay",
            payload_hash=hashlib.sha256(payload).hexdigest(),
            body_hash=tx.body_hash(),
            cap=tx.cap,
            tip=tx.tip,
            asset="",
            amount=0,
        )
        # The nonce is its owner's to use again: whatever is mined there, it is mined once.
        if not self.journal.book.signed(entry.slot, payload):
            self.journal.append(entry)

    def forget(self) -> None:
        """Let go of the keys of grants that have ended. To be called every second or so: without a
        next request nothing else would."""
        with self._granting:
            now = self._clock()
            self._grants = {name: one for name, one in self._grants.items() if one.until > now}


def _long_enough(given: object) -> SecretText:
    """A passphrase that seals something. Raises `SignerRefused`."""
    passphrase = SecretText(str(given))
    if len(passphrase.reveal()) < MIN_PASSPHRASE:
        raise SignerRefused("passphrase_too_short", f"{MIN_PASSPHRASE} characters at least")
    return passphrase


def _bound(principal: str, address: str) -> bytes:
    return json.dumps([ACCOUNT, principal, address]).encode("utf-8")

"""The signing desk: decode, ask the policy, ask the journal, sign, read back what was signed.

`admit` decides and writes the journal entry; `sign` is called only once that entry is durable. Both
are plain functions of this process, so that the signer process and `LocalSigner` are the same desk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from eth_account import Account
from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from keys.address import address_of
from keys.book import Entry
from keys.errors import SignerRefused
from keys.journal import Journal
from keys.payload import UnsignedTx, decode_list, decode_unsigned
from keys.policy import Policy
from keys.request import KINDS, MAX_INTENT_ID_LENGTH, SignedTx, SignRequest
from keys.secret import Secret

SIGNATURE_FIELDS: Final = 3
HALF_CURVE_ORDER: Final = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that passed and is in the journal: sign it once the journal is durable."""

    address: str
    tx: UnsignedTx


def utc_now() -> datetime:
    """The real clock; sandbox time does not reach the signer."""
    return datetime.now(UTC)


class SigningDesk:
    """Holds the hot keys. Refuses by default."""

    def __init__(
        self,
        *,
        hot_keys: Sequence[Secret],
        deposit_xpub: str,
        policy: Policy,
        journal: Journal,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        keys = {address_of(key): key for key in hot_keys}
        self._keys: Mapping[str, Secret] = keys
        self._by_lower = {address.lower(): address for address in keys}
        self._clock = clock
        self.policy = policy
        self.journal = journal
        self.deposit_xpub = deposit_xpub

    def __repr__(self) -> str:
        return f"SigningDesk({', '.join(self._keys)})"

    @property
    def hot_addresses(self) -> tuple[str, ...]:
        """EIP-55 addresses in index order."""
        return tuple(self._keys)

    def admit(self, request: SignRequest) -> Admitted:
        """Raises `SignerRefused` or `NonceConflict`; else the payload is in the journal (not yet
        durable) and may be signed after a flush. The identical payload is admitted again; it must
        still pass the policy, but counts once against the day's limit."""
        _check_words(request)
        address = self._by_lower.get(request.address.lower())
        if address is None:
            raise SignerRefused("unknown_address", "not a hot address of this signer")
        tx = decode_unsigned(request.payload)
        spend = self.policy.examine(tx, sender=bytes.fromhex(address[2:]), kind=request.kind)
        now = self._clock()
        entry = Entry(
            at=now.isoformat(timespec="milliseconds"),
            day=self.journal.book.effective_day(now.date().isoformat()),
            chain_id=tx.chain_id,
            address=address,
            nonce=tx.nonce,
            intent_id=request.intent_id,
            kind=request.kind,
            payload_hash=hashlib.sha256(request.payload).hexdigest(),
            body_hash=tx.body_hash(),
            cap=tx.cap,
            tip=tx.tip,
            asset=spend.asset if spend else "",
            amount=spend.amount if spend else 0,
        )
        if not self.journal.book.knows(entry):
            if entry.kind == "pay" and spend is not None:
                self._check_day(entry, spend.limit.per_day)
            self.journal.append(entry)
        return Admitted(address, tx)

    def sign(self, admitted: Admitted) -> SignedTx:
        """Sign by eth-account (RFC 6979: the same payload, the same bytes), then decode the result
        and compare every field, the sender and the hash. Raises `SignerRefused` on any doubt."""
        return sign_exactly(self._keys[admitted.address], admitted.tx, admitted.address)

    def _check_day(self, entry: Entry, per_day: int) -> None:
        spent = self.journal.book.spent(entry.chain_id, entry.asset, entry.day)
        if spent + entry.amount > per_day:
            raise SignerRefused("day_limit_reached", f"{spent} of {per_day} {entry.asset} are used")


def _check_words(request: SignRequest) -> None:
    """Kind and intent id as the journal can hold them. Raises `SignerRefused`."""
    if request.kind not in KINDS:
        raise SignerRefused("unknown_kind", "pay, bump, cancel or noop")
    intent = request.intent_id
    if not 0 < len(intent) <= MAX_INTENT_ID_LENGTH or not (
        intent.isascii() and intent.isprintable()
    ):
        raise SignerRefused("malformed_intent", "1 to 128 printable ASCII characters")


def sign_exactly(key: Secret, tx: UnsignedTx, address: str) -> SignedTx:
    """`tx` signed by `key`, read back and compared. Asks nobody: the caller has decided.

    Raises `SignerRefused` when the result is not exactly `tx`, signed by `address`.
    """
    raw = _signed_bytes(key, tx)
    if raw is None or not signed_matches(raw, tx, address):
        raise SignerRefused("signing_failed", "the signed bytes are not what was asked for")
    return SignedTx(raw=raw, tx_hash="0x" + keccak(raw).hex())


def signed_matches(raw: bytes, tx: UnsignedTx, address: str) -> bool:
    """True when `raw` is exactly `tx` plus a low-s signature by `address` (EIP-1559, EIP-2)."""
    fields = decode_list(raw[1:]) if raw[:1] == b"\x02" else None
    unsigned = tx.fields()
    if fields is None or len(fields) != len(unsigned) + SIGNATURE_FIELDS:
        return False
    if [_plain(field) for field in fields[: len(unsigned)]] != unsigned:
        return False
    parity, r, s = (int.from_bytes(field, "big") for field in fields[len(unsigned) :])
    return s <= HALF_CURVE_ORDER and _recover(tx.encode(), (parity, r, s)) == address


def _plain(field: Any) -> Any:
    return list(field) if isinstance(field, tuple) else field


def _recover(payload: bytes, vrs: tuple[int, int, int]) -> str | None:
    """The EIP-55 address whose key signed `payload`."""
    try:
        key = Signature(vrs=vrs).recover_public_key_from_msg_hash(keccak(payload))
    except (BadSignature, ValidationError, ValueError, TypeError):
        return None
    return str(key.to_checksum_address())


def _signed_bytes(key: Secret, tx: UnsignedTx) -> bytes | None:
    """eth-account's answer, or None: its exceptions may repeat what they were given."""
    fields = {
        "type": 2,
        "chainId": tx.chain_id,
        "nonce": tx.nonce,
        "maxPriorityFeePerGas": tx.tip,
        "maxFeePerGas": tx.cap,
        "gas": tx.gas,
        "to": tx.to,
        "value": tx.value,
        "data": tx.data,
        "accessList": [],
    }
    try:
        return bytes(Account.sign_transaction(fields, key.reveal()).raw_transaction)
    except (BadSignature, ValidationError, ValueError, TypeError, KeyError):
        return None

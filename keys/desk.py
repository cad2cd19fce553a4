"""The signing desk: decode, ask the policy, ask the journal, sign, read back what was signed.

`admit` decides and writes the journal entry; `sign` is called only once that entry is durable. Both
are plain functions of this process, so that the signer process and `LocalSigner` are the same desk.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from keys.address import address_of
from keys.book import Entry
from keys.errors import InvalidDerivation, SignerRefused
from keys.handles import KeyHandle, Vrs
from keys.held import HeldKey
from keys.journal import Journal
from keys.payload import (
    ADDRESS_BYTES,
    MAX_NONCE,
    UnsignedTx,
    authorization_message,
    decode_list,
    decode_unsigned,
    encode_list,
    integer,
)
from keys.personal import HALF_CURVE_ORDER, signers_of
from keys.policy import MIN_GAS, NATIVE, NOTHING, Ours, Policy, Spend
from keys.request import (
    KINDS,
    MAX_INTENT_ID_LENGTH,
    EntryKind,
    SignedTx,
    SignRequest,
    approval_text,
)
from keys.secret import Secret

SIGNATURE_FIELDS: Final = 3


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that passed and is in the journal: sign it once the journal is durable."""

    address: str
    tx: UnsignedTx
    deposit_index: int | None = None


@dataclass(frozen=True, slots=True)
class AdmittedDelegation:
    """An authorisation that passed and is in the journal."""

    chain_id: int
    delegate: bytes
    nonce: int
    address: str
    deposit_index: int


class DepositKeys(Protocol):
    """Private keys of deposit addresses, by index; only a signer that may sweep has one."""

    def key(self, index: int) -> Secret:
        """The key at `m/44'/60'/1'/0/index`. Raises `InvalidDerivation`."""
        ...


def utc_now() -> datetime:
    """The real clock; sandbox time does not reach the signer."""
    return datetime.now(UTC)


class SigningDesk:
    """Holds the hot keys, and the warm one where its policy lets something leave there. Refuses by
    default."""

    def __init__(
        self,
        *,
        hot_keys: Sequence[Secret | KeyHandle],
        deposit_xpub: str,
        policy: Policy,
        journal: Journal,
        clock: Callable[[], datetime] = utc_now,
        deposit_keys: DepositKeys | None = None,
        warm_key: Secret | None = None,
    ) -> None:
        """Raises `InvalidDerivation` for what is no key, or a warm key that is hot, too."""
        handles = [HeldKey(key) if isinstance(key, Secret) else key for key in hot_keys]
        self._keys: Mapping[str, KeyHandle] = {key.address: key for key in handles}
        self._warm = None if warm_key is None else HeldKey(warm_key)
        warm = None if self._warm is None else self._warm.address
        if warm in self._keys:
            raise InvalidDerivation("the warm key is hot, too")
        self._ours = Ours(frozenset(self._keys), warm)
        known = self._keys if warm is None else [*self._keys, warm]
        self._by_lower = {address.lower(): address for address in known}
        self._clock = clock
        self._deposit_keys = deposit_keys
        self.policy = policy
        self.journal = journal
        self.deposit_xpub = deposit_xpub

    def __repr__(self) -> str:
        return f"SigningDesk({', '.join(self._keys)})"

    @property
    def hot_addresses(self) -> tuple[str, ...]:
        """EIP-55 addresses in index order."""
        return tuple(self._keys)

    @property
    def warm_address(self) -> str | None:
        """The EIP-55 address of the warm key, if one is held."""
        return self._ours.warm

    def approval_limits(self) -> dict[str, dict[str, Any]]:
        """`{chain_id: {"above": {asset: amount}, "exempt": [address], "operators": [address],
        "fee_ceiling": wei}}`: above it one payment needs the signature of one of the operators,
        unless it goes to one of the exempt (the policy's `treasury_to`, our own warm address).
        `"warm"`: addresses that always need several, and how many. `"fee_ceiling"`: per gas.
        """
        limits: dict[str, dict[str, Any]] = {}
        for chain_id, chain in self.policy.chains.items():
            listed = dict(chain.tokens)
            if chain.native is not None:
                listed[NATIVE] = chain.native
            above = {
                asset: str(limit.approve_above)
                for asset, limit in listed.items()
                if limit.approve_above is not None
            }
            limits[str(chain_id)] = {
                "above": above,
                "exempt": sorted(chain.treasury_to),
                "operators": sorted(self.policy.operators),
                "fee_ceiling": str(chain.fee_ceiling_wei),
            }
            if chain.warm is not None and self._ours.warm is not None:
                limits[str(chain_id)] |= {
                    "exempt": sorted(chain.treasury_to | {self._ours.warm}),
                    "warm": {
                        "addresses": [self._ours.warm],
                        "signatures": chain.warm.signatures,
                    },
                }
        return limits

    def admit(self, request: SignRequest) -> Admitted:
        """Raises `SignerRefused` or `NonceConflict`; else the payload is in the journal (not yet
        durable) and may be signed after a flush. The identical payload is admitted again; it must
        still pass the policy, but counts once against the day's limit."""
        _check_words(request)
        deposit = request.deposit_index is not None
        address = self._address_of(request)
        tx = decode_unsigned(request.payload)
        sender = bytes.fromhex(address[2:])
        spend = self.policy.examine(
            tx, sender=sender, kind=request.kind, deposit=deposit, ours=self._ours
        )
        if spend is not None and spend.signatures:
            self._check_approvals(request, tx, spend, address)
        slot = (tx.chain_id, address, tx.nonce)
        if spend is not None and spend.asset == NOTHING and self.journal.book.uses(slot):
            spend = None  # only one of all that is signed at a nonce costs anything
        entry = self._entry(request, tx, address, spend)
        if not self.journal.book.knows(entry):
            if entry.kind != "bump" and spend is not None and spend.limit is not None:
                self._check_day(entry, spend.limit.per_day)
            saved = spend is not None and spend.limit is None
            if (tx.value or tx.data) and not saved:
                self._check_fees(entry)
            self.journal.append(entry)
        return Admitted(address, tx, request.deposit_index)

    def sign(self, admitted: Admitted) -> SignedTx:
        """Sign (RFC 6979: the same payload, the same bytes), then decode the result and compare
        every field and the sender. Raises `SignerRefused` on any doubt."""
        if admitted.deposit_index is not None:
            child = self._deposit_key(admitted.deposit_index, admitted.address)
            return sign_exactly(child, admitted.tx, admitted.address)
        return _sign(self._key_of(admitted.address), admitted.tx, admitted.address)

    def public_points(self) -> dict[str, bytes]:
        """Address → uncompressed public key (65 bytes), of the hot keys held here as bytes. A key
        in a device is told by that device."""
        return {
            address: key.point for address, key in self._keys.items() if isinstance(key, HeldKey)
        }

    def admit_delegation(
        self, *, address: str, deposit_index: int, chain_id: int, nonce: int, delegate: str
    ) -> AdmittedDelegation:
        """A deposit address may let the pinned sweeper act for it (EIP-7702); nothing else.

        Raises `SignerRefused`. The entry is in the journal, not yet durable.
        """
        if any(type(number) is not int for number in (deposit_index, chain_id, nonce)):
            raise SignerRefused("malformed_request", "index, chain id and nonce are numbers")
        self.policy.examine_authorization(chain_id, delegate)
        if not 0 <= nonce <= MAX_NONCE:
            raise SignerRefused("malformed_request", "the nonce is out of range")
        self._deposit_key(deposit_index, address)
        wanted = AdmittedDelegation(
            chain_id, bytes.fromhex(delegate[2:]), nonce, address, deposit_index
        )
        digest = hashlib.sha256(_delegation_message(wanted)).hexdigest()
        self.journal.append(
            self._plain_entry(
                chain_id=chain_id,
                address=address,
                nonce=nonce,
                intent_id=f"authorize/{address}",
                kind="authorize",
                payload_hash=digest,
                body_hash=digest,
            )
        )
        return wanted

    def delegate(self, admitted: AdmittedDelegation) -> bytes:
        """The signature, 65 bytes r, s, parity, low-s. Raises `SignerRefused` on any doubt."""
        key = self._deposit_key(admitted.deposit_index, admitted.address)
        digest = bytes(keccak(_delegation_message(admitted)))
        parity, r, s = HeldKey(key).sign_digest(digest)
        if s > HALF_CURVE_ORDER or not _is_by(admitted.address, digest, (parity, r, s)):
            raise SignerRefused("signing_failed", "the signature is not what was asked for")
        return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([parity])

    def _address_of(self, request: SignRequest) -> str:
        """Whose key it is, by what this signer holds. Raises `SignerRefused`."""
        if request.deposit_index is not None:
            self._deposit_key(request.deposit_index, request.address)
            return request.address
        address = self._by_lower.get(request.address.lower())
        if address is None:
            raise SignerRefused("unknown_address", "not a hot or warm address of this signer")
        return address

    def _key_of(self, address: str) -> KeyHandle:
        if self._warm is not None and address == self._warm.address:
            return self._warm
        return self._keys[address]

    def _deposit_key(self, index: int, address: str) -> Secret:
        """The key of a deposit address. Raises `SignerRefused` unless the index leads to it."""
        if self._deposit_keys is None:
            raise SignerRefused("unknown_address", "this signer holds no deposit keys")
        key = None
        with contextlib.suppress(InvalidDerivation):
            key = self._deposit_keys.key(index)
        if key is None or address_of(key) != address:
            raise SignerRefused("unknown_address", "not the deposit address of this index")
        return key

    def _check_approvals(
        self, request: SignRequest, tx: UnsignedTx, spend: Spend, address: str
    ) -> None:
        """So many different operators must have signed for this payment. Raises `SignerRefused`."""
        needed = spend.signatures
        if not request.approval or spend.to is None:
            raise SignerRefused("approval_needed", f"{spend.largest} of {spend.asset}")
        wanted = approval_text(
            intent_id=request.intent_id,
            chain_id=tx.chain_id,
            to=spend.to,
            asset=spend.asset,
            amount=spend.amount,
            warm=None if spend.warm is None else address,
        )
        signed = signers_of(wanted, request.approval)
        by = len({one for one in signed if one in self.policy.operators})
        if by >= needed:
            return
        if any(one not in self.policy.operators for one in signed):
            raise SignerRefused("approval_invalid", "not by an operator, or of another payment")
        raise SignerRefused("approval_needed", f"{by} of {needed} operators have signed")

    def _entry(
        self, request: SignRequest, tx: UnsignedTx, address: str, spend: Spend | None
    ) -> Entry:
        return self._plain_entry(
            chain_id=tx.chain_id,
            address=address,
            nonce=tx.nonce,
            intent_id=request.intent_id,
            kind=request.kind,
            payload_hash=hashlib.sha256(request.payload).hexdigest(),
            body_hash=tx.body_hash(),
            cap=tx.cap,
            tip=tx.tip,
            asset=spend.sum_name if spend else "",
            amount=spend.amount if spend else 0,
            fee=self._fee(tx),
        )

    def _plain_entry(
        self,
        *,
        chain_id: int,
        address: str,
        nonce: int,
        intent_id: str,
        kind: EntryKind,
        payload_hash: str,
        body_hash: str,
        cap: int = 0,
        tip: int = 0,
        asset: str = "",
        amount: int = 0,
        fee: int = 0,
    ) -> Entry:
        now = self._clock()
        return Entry(
            at=now.isoformat(timespec="milliseconds"),
            day=self.journal.book.effective_day(now.date().isoformat()),
            chain_id=chain_id,
            address=address,
            nonce=nonce,
            intent_id=intent_id,
            kind=kind,
            payload_hash=payload_hash,
            body_hash=body_hash,
            cap=cap,
            tip=tip,
            asset=asset,
            amount=amount,
            fee=fee,
        )

    def _check_day(self, entry: Entry, per_day: int) -> None:
        spent = self.journal.book.spent(entry.chain_id, entry.asset, entry.day)
        if spent + entry.amount > per_day:
            raise SignerRefused("day_limit_reached", f"{spent} of {per_day} {entry.asset} are used")

    def _fee(self, tx: UnsignedTx) -> int:
        """Wei that its gas may cost; 0 where nothing bounds that. A transfer of nothing uses the
        least there is, whatever it allows."""
        if self.policy.chains[tx.chain_id].fees_per_day is None:
            return 0
        return tx.cap * (tx.gas if tx.value or tx.data else MIN_GAS)

    def _check_fees(self, entry: Entry) -> None:
        """Not for transfers of nothing, which are counted and never refused: they use 21,000 gas,
        and a payment that must not go out would jam its address for the day. Nor for what goes to
        the treasury's list: an evacuation waits for nobody's fees."""
        per_day, book = self.policy.chains[entry.chain_id].fees_per_day, self.journal.book
        if per_day is None:
            return
        spent = book.fees(entry.chain_id, entry.day)
        if spent + max(entry.fee - book.fee_counted(entry.slot), 0) > per_day:
            raise SignerRefused("day_limit_reached", f"{spent} of {per_day} wei of fees are used")


def _delegation_message(wanted: AdmittedDelegation) -> bytes:
    assert len(wanted.delegate) == ADDRESS_BYTES
    return authorization_message(wanted.chain_id, wanted.delegate, wanted.nonce)


def _check_words(request: SignRequest) -> None:
    """Kind and intent id as the journal can hold them. Raises `SignerRefused`."""
    if request.kind not in KINDS:
        raise SignerRefused("unknown_kind", "pay, bump, cancel or noop")
    check_intent(request.intent_id)


def check_intent(intent: str) -> None:
    """The id as the journal can hold it: a longer line would stop the next start for good.

    Raises `SignerRefused`.
    """
    if not 0 < len(intent) <= MAX_INTENT_ID_LENGTH or not (
        intent.isascii() and intent.isprintable()
    ):
        raise SignerRefused("malformed_intent", "1 to 128 printable ASCII characters")


def sign_exactly(key: Secret, tx: UnsignedTx, address: str) -> SignedTx:
    """`tx` signed by `key`, read back and compared. Asks nobody: the caller has decided.

    Raises `SignerRefused` when the result is not exactly `tx`, signed by `address`.
    """
    return _sign(HeldKey(key), tx, address)


def _sign(key: KeyHandle, tx: UnsignedTx, address: str) -> SignedTx:
    return assemble(tx, key.sign_digest(tx.digest), address)


def assemble(tx: UnsignedTx, vrs: Vrs, address: str) -> SignedTx:
    """`tx` with its signature, by our own key or a device, read back and compared.

    Raises `SignerRefused` when it is not by `address` over exactly `tx`.
    """
    signature = [integer(number) for number in vrs]
    raw = bytes([tx.type]) + encode_list([*tx.fields(), *signature])
    if not signed_matches(raw, tx, address):
        raise SignerRefused("signing_failed", "the signed bytes are not what was asked for")
    return SignedTx(raw=raw, tx_hash="0x" + keccak(raw).hex())


def signed_matches(raw: bytes, tx: UnsignedTx, address: str) -> bool:
    """True when `raw` is exactly `tx` plus a low-s signature by `address` (EIP-1559, EIP-2)."""
    fields = decode_list(raw[1:]) if raw[:1] == bytes([tx.type]) else None
    unsigned = tx.fields()
    if fields is None or len(fields) != len(unsigned) + SIGNATURE_FIELDS:
        return False
    if [_plain(field) for field in fields[: len(unsigned)]] != unsigned:
        return False
    parity, r, s = (int.from_bytes(field, "big") for field in fields[len(unsigned) :])
    return s <= HALF_CURVE_ORDER and _is_by(address, tx.digest, (parity, r, s))


def _plain(field: Any) -> Any:
    return [_plain(item) for item in field] if isinstance(field, list | tuple) else field


def _is_by(address: str, digest: bytes, vrs: Vrs) -> bool:
    """Whether the key of `address` signed `digest`."""
    try:
        key = Signature(vrs=vrs).recover_public_key_from_msg_hash(digest)
    except (BadSignature, ValidationError, ValueError, TypeError):
        return False
    return "0x" + key.to_canonical_address().hex() == address.lower()

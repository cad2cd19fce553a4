"""Transactions as plain values: build, encode, compare, bump. Pure functions, no keys.

Standards: EIP-1559 (fee market), EIP-7702 (delegations), EIP-2718 (typed envelope), EIP-2 (low s).
Amounts are wei, fees wei per gas. The access list is always empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import rlp
from eth_hash.backends.pysha3 import keccak256 as keccak
from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError
from rlp.exceptions import RLPException

from chain.address import checked, from_bytes20, to_bytes20
from chain.errors import FeeCeiling, InvalidAddress, InvalidTransaction

TX_TYPE: Final = 0x02
DELEGATING_TYPE: Final = 0x04  # with EIP-7702 authorisations
MAX_GAS: Final = 16_000_000  # Below mainnet's 2^24 per transaction (EIP-7825), as the signer has.
PLAIN_TRANSFER_GAS: Final = 21_000  # On chains that fold L1 cost into gas, estimate instead.
TRANSFER_SELECTOR: Final = bytes.fromhex("a9059cbb")  # transfer(address,uint256)
MAX_DATA_BYTES: Final = 128 * 1024  # geth's limit for one pooled transaction.
_UINT64 = 2**64
_UINT256 = 2**256
_SECP256K1_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_UNSIGNED_FIELDS = 9
_SIGNATURE_FIELDS = 3
_AUTHORIZATION_FIELDS = 6


@dataclass(frozen=True, slots=True)
class Authorization:
    """A signed EIP-7702 authorisation: `delegate` (EIP-55) becomes the code of who signed it."""

    chain_id: int
    delegate: str
    nonce: int
    parity: int
    r: int
    s: int

    def __post_init__(self) -> None:
        _demand(0 < self.chain_id < _UINT64, "authorisation: chain_id")
        _demand(0 <= self.nonce < _UINT64 - 1, "authorisation: nonce")
        _demand(self.parity in (0, 1), "authorisation: parity")
        _demand(0 < self.r < _UINT256 and 0 < self.s <= _SECP256K1_HALF_ORDER, "authorisation: s")
        if checked(self.delegate) != self.delegate:
            object.__setattr__(self, "delegate", checked(self.delegate))

    @classmethod
    def signed(cls, *, chain_id: int, delegate: str, nonce: int, signature: bytes) -> Authorization:
        """From 65 bytes r, s, parity. Raises InvalidTransaction."""
        _demand(len(signature) == 65, "authorisation: signature")
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
        return cls(chain_id, delegate, nonce, signature[64], r, s)

    def items(self) -> list[object]:
        """As the standard's tuple."""
        delegate = to_bytes20(self.delegate)
        return [self.chain_id, delegate, self.nonce, self.parity, self.r, self.s]

    def json(self) -> dict[str, str]:
        """As an element of a request's `authorizationList`."""
        return {
            "chainId": hex(self.chain_id),
            "address": self.delegate,
            "nonce": hex(self.nonce),
            "yParity": hex(self.parity),
            "r": hex(self.r),
            "s": hex(self.s),
        }


@dataclass(frozen=True, slots=True)
class TxFields:
    """What a signer signs. `tip` and `cap` in wei per gas, `value` in wei, `to` EIP-55.

    Invariants, checked at construction (InvalidTransaction): chain id above 0, tip ≤ cap,
    gas within 21,000 and MAX_GAS, a recipient that is not the zero address.
    """

    chain_id: int
    nonce: int
    tip: int
    cap: int
    gas: int
    to: str
    value: int
    data: bytes = b""
    authorizations: tuple[Authorization, ...] = ()

    def __post_init__(self) -> None:
        for name in ("chain_id", "nonce", "tip", "cap", "gas", "value"):
            if type(getattr(self, name)) is not int:
                raise InvalidTransaction(f"{name} is not a whole number")
        _demand(0 < self.chain_id < _UINT64, "chain_id")
        _demand(0 <= self.nonce < _UINT64 - 1, "nonce")  # EIP-2681
        _demand(0 <= self.tip <= self.cap < _UINT256, "tip or cap")
        _demand(PLAIN_TRANSFER_GAS <= self.gas <= MAX_GAS, "gas")
        _demand(0 <= self.value < _UINT256, "value")
        _demand(type(self.data) is bytes and len(self.data) <= MAX_DATA_BYTES, "data")
        try:
            canonical = checked(self.to)
        except InvalidAddress as error:
            raise InvalidTransaction(f"to: {error}") from None
        if canonical != self.to:
            object.__setattr__(self, "to", canonical)


def encode_unsigned(fields: TxFields) -> bytes:
    """What a signer hashes: the type and `rlp([chain_id, nonce, tip, cap, gas, to, …])`."""
    return _type_of(fields) + _rlp_encode(_items(fields))


def encode_authorizations(items: Sequence[Authorization]) -> bytes:
    """RLP of a list of authorisations, as they are kept until they are used."""
    return _rlp_encode([item.items() for item in items])


def decode_authorizations(encoded: bytes) -> tuple[Authorization, ...]:
    """The inverse. Raises InvalidTransaction."""
    try:
        return _authorizations(rlp.decode(encoded, strict=True))
    except (RLPException, RecursionError):
        raise InvalidTransaction("the authorisations are not RLP") from None


def decode_unsigned(payload: bytes) -> TxFields:
    """The fields of such bytes; only the one canonical encoding. Raises InvalidTransaction."""
    parts = _parts(payload, 0)
    fields = _fields(parts)
    if encode_unsigned(fields) != payload:
        raise InvalidTransaction("the bytes are not the canonical encoding")
    return fields


def decode_signed(raw: bytes) -> tuple[TxFields, str]:
    """Fields and EIP-55 sender of signed bytes, in canonical form with low s.

    Raises InvalidTransaction.
    """
    parts = _parts(raw, _SIGNATURE_FIELDS)
    fields = _fields(parts[:-_SIGNATURE_FIELDS])
    parity, r, s = (_integer(part) for part in parts[-_SIGNATURE_FIELDS:])
    if parity not in (0, 1) or not 0 < s <= _SECP256K1_HALF_ORDER:
        raise InvalidTransaction("the signature is not in the form EIP-2 asks for")
    if signed_bytes(fields, parity, r, s) != raw:
        raise InvalidTransaction("the bytes are not the canonical encoding")
    try:
        signature = Signature(vrs=(parity, r, s))
        key = signature.recover_public_key_from_msg_hash(keccak(encode_unsigned(fields)))
    except (BadSignature, ValidationError, ValueError):
        raise InvalidTransaction("the signature recovers no key") from None
    return fields, from_bytes20(key.to_canonical_address())


def signed_bytes(fields: TxFields, parity: int, r: int, s: int) -> bytes:
    """`fields` with this signature; whose it is, `decode_signed` says."""
    return _type_of(fields) + _rlp_encode([*_items(fields), parity, r, s])


def signed_matches(raw: bytes, fields: TxFields, sender: str) -> bool:
    """Whether `raw` is exactly `fields`, signed by `sender`: check before every broadcast."""
    try:
        decoded, signer = decode_signed(raw)
    except InvalidTransaction:
        return False
    return decoded == fields and signer == checked(sender)


def tx_hash(raw: bytes) -> str:
    """Hash of signed bytes as lower-case `0x` text, as nodes know the transaction."""
    return "0x" + keccak(raw).hex()


def native_transfer(
    *, chain_id: int, nonce: int, tip: int, cap: int, gas: int, to: str, value_wei: int
) -> TxFields:
    """A transfer of the native coin. Raises InvalidTransaction (zero value moves nothing)."""
    _demand(value_wei > 0, "value_wei")
    return TxFields(chain_id, nonce, tip, cap, gas, to, value_wei)


def erc20_transfer(
    *, chain_id: int, nonce: int, tip: int, cap: int, gas: int, contract: str, to: str,
    amount_minor: int,
) -> TxFields:  # fmt: skip
    """A call of `transfer(to, amount_minor)` on a token contract. Raises InvalidTransaction."""
    data = transfer_data(to=to, amount_minor=amount_minor)
    if checked(to) == checked(contract):
        raise InvalidTransaction("a token sent to its own contract is lost")
    return TxFields(chain_id, nonce, tip, cap, gas, contract, 0, data)


def transfer_data(*, to: str, amount_minor: int) -> bytes:
    """Call data of ERC-20 `transfer`. Raises InvalidTransaction, InvalidAddress."""
    _demand(type(amount_minor) is int and 0 < amount_minor < _UINT256, "amount_minor")
    return TRANSFER_SELECTOR + bytes(12) + to_bytes20(to) + amount_minor.to_bytes(32, "big")


def contract_call(
    *, chain_id: int, nonce: int, tip: int, cap: int, gas: int, contract: str, data: bytes,
    value_wei: int = 0, authorizations: tuple[Authorization, ...] = (),
) -> TxFields:  # fmt: skip
    """A call of a contract. Raises InvalidTransaction."""
    _demand(len(data) >= 4, "data")
    return TxFields(chain_id, nonce, tip, cap, gas, contract, value_wei, data, authorizations)


def self_cancel(
    fields: TxFields, *, sender: str, percent: int, gas: int = PLAIN_TRANSFER_GAS,
    ceiling_wei: int | None = None,
) -> TxFields:  # fmt: skip
    """A transfer of nothing to oneself at the same nonce, dear enough to replace `fields`."""
    dearer = bumped(fields, percent, ceiling_wei=ceiling_wei)
    return replace(dearer, to=checked(sender), value=0, data=b"", gas=gas, authorizations=())


def bumped(fields: TxFields, percent: int, *, ceiling_wei: int | None = None) -> TxFields:
    """The same transaction with both fees raised by `percent`, and by 12.5 % at least.

    Rounded up, and by at least 1 wei each: geth wants strictly more on both fields, Anvil looks
    at the cap only, so the rule is kept here. Raises FeeCeiling when the new cap would exceed
    `ceiling_wei`.
    """
    if type(percent) is not int or percent < 0:
        raise InvalidTransaction("percent is not a whole number above zero")
    cap = _raised(fields.cap, percent)
    if ceiling_wei is not None and cap > ceiling_wei:
        raise FeeCeiling(needed_wei=cap, ceiling_wei=ceiling_wei)
    return replace(fields, tip=_raised(fields.tip, percent), cap=cap)


def _raised(fee: int, percent: int) -> int:
    asked = -(-fee * (100 + percent) // 100)
    least = -(-fee * 1125 // 1000)
    return max(asked, least, fee + 1)


def _type_of(fields: TxFields) -> bytes:
    return bytes([DELEGATING_TYPE if fields.authorizations else TX_TYPE])


def _items(fields: TxFields) -> list[object]:
    items: list[object] = [
        fields.chain_id, fields.nonce, fields.tip, fields.cap, fields.gas,
        to_bytes20(fields.to), fields.value, fields.data, [],
    ]  # fmt: skip
    if fields.authorizations:
        items.append([item.items() for item in fields.authorizations])
    return items


def _rlp_encode(items: list[object]) -> bytes:
    encoded: bytes = rlp.encode(items)
    return encoded


def _parts(payload: bytes, more: int) -> list[object]:
    """The fields of a transaction of a known type, with `more` of a signature after them."""
    if payload[:1] not in (bytes([TX_TYPE]), bytes([DELEGATING_TYPE])):
        raise InvalidTransaction("neither an EIP-1559 nor an EIP-7702 transaction")
    if len(payload) > 2 * MAX_DATA_BYTES:
        raise InvalidTransaction("the transaction is too long")
    try:
        parts = rlp.decode(payload[1:], strict=True)
    except (RLPException, RecursionError):
        raise InvalidTransaction("the bytes are not RLP") from None
    count = _UNSIGNED_FIELDS + (payload[0] == DELEGATING_TYPE) + more
    if not isinstance(parts, (list, tuple)) or len(parts) != count:
        raise InvalidTransaction(f"a transaction of this kind has {count} fields")
    return list(parts)


def _fields(parts: list[object]) -> TxFields:
    *numbers, to, value, data, access_list = parts[:_UNSIGNED_FIELDS]
    if not isinstance(to, bytes) or len(to) != 20:
        raise InvalidTransaction("no recipient: contract creations are not built here")
    if not isinstance(data, bytes) or access_list not in ([], ()):
        raise InvalidTransaction("data or access list is not what we build")
    chain_id, nonce, tip, cap, gas = (_integer(part) for part in numbers)
    authorizations: tuple[Authorization, ...] = ()
    if len(parts) > _UNSIGNED_FIELDS:
        authorizations = _authorizations(parts[_UNSIGNED_FIELDS])
        _demand(len(authorizations) > 0, "authorisations")
    return TxFields(
        chain_id, nonce, tip, cap, gas, from_bytes20(to), _integer(value), data, authorizations
    )


def _authorizations(items: object) -> tuple[Authorization, ...]:
    if not isinstance(items, (list, tuple)):
        raise InvalidTransaction("the authorisations are no list")
    found = []
    for item in items:
        if not isinstance(item, (list, tuple)) or len(item) != _AUTHORIZATION_FIELDS:
            raise InvalidTransaction("an authorisation has six fields")
        delegate = item[1]
        if not isinstance(delegate, bytes) or len(delegate) != 20:
            raise InvalidTransaction("an authorisation names an address")
        chain_id, nonce, parity, r, s = (_integer(item[i]) for i in (0, 2, 3, 4, 5))
        found.append(Authorization(chain_id, from_bytes20(delegate), nonce, parity, r, s))
    return tuple(found)


def _integer(part: object) -> int:
    if not isinstance(part, bytes) or len(part) > 32 or part[:1] == b"\0":
        raise InvalidTransaction("a number is not in its shortest form")
    return int.from_bytes(part, "big")


def intrinsic_gas(data: bytes) -> int:
    """Gas that a call with this data costs before anything runs: no node takes less. A byte costs
    16, a zero 4 (EIP-2028); nothing that is mined pays less than 40 and 10 (EIP-7623)."""
    zeros = data.count(0)
    others = len(data) - zeros
    return PLAIN_TRANSFER_GAS + max(4 * zeros + 16 * others, 10 * zeros + 40 * others)


def _demand(holds: bool, name: str) -> None:
    if not holds:
        raise InvalidTransaction(f"{name} is out of range")

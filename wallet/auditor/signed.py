"""Signed bytes, read again: who signed them, at which nonce, to whom, how much.

RLP (Ethereum's yellow paper, appendix B), EIP-1559 and EIP-7702 envelopes, and the sender by
recovery, decoded here and not by the code that made them.
"""

from __future__ import annotations

from dataclasses import dataclass

from coincurve import PublicKey
from eth_hash.auto import keccak

TRANSFER = bytes.fromhex("a9059cbb")
"""Selector of ERC-20's `transfer(address,uint256)`."""
_TYPES = (2, 4)
_SIGNATURE_FIELDS = 3


class Unreadable(ValueError):
    """The bytes are no signed transaction of a kind that is sent here."""


@dataclass(frozen=True, slots=True)
class Signed:
    """What the bytes say. Addresses in lower case; `value` in wei, `data` as sent."""

    tx_hash: str
    sender: str
    chain_id: int
    nonce: int
    gas: int
    cap: int
    to: str
    value: int
    data: bytes


def read(raw: bytes) -> Signed:
    """Decode and recover. Raises Unreadable."""
    if not raw or raw[0] not in _TYPES:
        raise Unreadable("not a transaction of type 2 or 4")
    fields, rest = _item(raw[1:])
    if rest or not isinstance(fields, list) or len(fields) < 9 + _SIGNATURE_FIELDS:
        raise Unreadable("not a list of fields")
    unsigned, signature = fields[:-_SIGNATURE_FIELDS], fields[-_SIGNATURE_FIELDS:]
    parity, r, s = (_whole(part) for part in signature)
    if parity not in (0, 1):
        raise Unreadable("a parity that is neither 0 nor 1")
    digest = keccak(raw[:1] + _list(unsigned))
    try:
        key = PublicKey.from_signature_and_message(
            r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([parity]), digest, hasher=None
        )
    except (ValueError, OverflowError) as error:
        raise Unreadable("a signature of nobody") from error
    to, data = unsigned[5], unsigned[7]
    if not isinstance(to, bytes) or not isinstance(data, bytes) or len(to) != 20:
        raise Unreadable("no recipient")
    return Signed(
        tx_hash="0x" + keccak(raw).hex(),
        sender=address_of(key),
        chain_id=_whole(unsigned[0]),
        nonce=_whole(unsigned[1]),
        cap=_whole(unsigned[3]),
        gas=_whole(unsigned[4]),
        to="0x" + to.hex(),
        value=_whole(unsigned[6]),
        data=data,
    )


def address_of(key: PublicKey) -> str:
    """The address of a public key, in lower case."""
    return "0x" + keccak(key.format(compressed=False)[1:])[-20:].hex()


_Item = bytes | list["_Item"]


def _whole(item: _Item) -> int:
    if not isinstance(item, bytes):
        raise Unreadable("a list where a number stands")
    return int.from_bytes(item, "big")


def _item(data: bytes) -> tuple[_Item, bytes]:
    """One item and what follows it."""
    if not data:
        raise Unreadable("the bytes end too early")
    first = data[0]
    if first < 0x80:
        return data[:1], data[1:]
    is_list = first >= 0xC0
    short = first - (0xC0 if is_list else 0x80)
    start = 1
    if short > 55:
        start = 1 + short - 55
        short = int.from_bytes(data[1:start], "big")
    body, rest = data[start : start + short], data[start + short :]
    if len(body) != short:
        raise Unreadable("the bytes end too early")
    if not is_list:
        return body, rest
    items: list[_Item] = []
    while body:
        item, body = _item(body)
        items.append(item)
    return items, rest


def _list(items: list[_Item]) -> bytes:
    body = b"".join(_list(one) if isinstance(one, list) else _bytes(one) for one in items)
    return _head(len(body), 0xC0) + body


def _bytes(item: bytes) -> bytes:
    if len(item) == 1 and item[0] < 0x80:
        return item
    return _head(len(item), 0x80) + item


def _head(length: int, base: int) -> bytes:
    if length <= 55:
        return bytes([base + length])
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([base + 55 + len(size)]) + size

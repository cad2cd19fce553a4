"""Strict readers for the hexadecimal values inside a node's answers.

Each raises NodeGarbage naming the field, never the value: what a node sends may be large.
Standard: Ethereum JSON-RPC "quantity" and "data" encodings (execution-apis).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from chain.errors import NodeGarbage

_QUANTITY = re.compile(r"0x(0|[1-9a-f][0-9a-f]{0,63})\Z", re.ASCII)
_HASH = re.compile(r"0x[0-9a-f]{64}\Z", re.ASCII)
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}\Z", re.ASCII)


def quantity(value: object, field: str) -> int:
    """A whole number below 2^256 written as `0x…` without leading zeros."""
    if not isinstance(value, str) or not _QUANTITY.match(value):
        raise NodeGarbage(f"{field} is not a quantity")
    return int(value, 16)


def hash32(value: object, field: str) -> str:
    """32 bytes as lower-case `0x` text (block, transaction and topic hashes)."""
    if not isinstance(value, str) or not _HASH.match(value):
        raise NodeGarbage(f"{field} is not a 32-byte hash")
    return value


def address(value: object, field: str) -> str:
    """20 bytes as lower-case `0x` text."""
    if not isinstance(value, str) or not _ADDRESS.match(value):
        raise NodeGarbage(f"{field} is not an address")
    return value.lower()


def data(value: object, field: str, *, length: int | None = None) -> bytes:
    """Bytes written as `0x…`; with `length`, exactly so many."""
    try:
        raw = bytes.fromhex(value[2:])  # type: ignore[index]
    except (TypeError, ValueError):
        raise NodeGarbage(f"{field} is not hexadecimal data") from None
    # fromhex overlooks blanks: they show in the length
    if not isinstance(value, str) or value[:2] != "0x" or len(value) != 2 + 2 * len(raw):
        raise NodeGarbage(f"{field} is not hexadecimal data")
    if length is not None and len(raw) != length:
        raise NodeGarbage(f"{field} does not have {length} bytes")
    return raw


def table(value: object, field: str) -> Mapping[str, object]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise NodeGarbage(f"{field} is not an object")
    return value


def items(value: object, field: str) -> list[object]:
    """A JSON array."""
    if not isinstance(value, list):
        raise NodeGarbage(f"{field} is not a list")
    return value

"""ABI encoding: eth-abi behind a door, for it is slow to import and most processes never encode."""

from __future__ import annotations

from collections.abc import Sequence


def encode(types: Sequence[str], values: Sequence[object]) -> bytes:
    """`eth_abi.abi.encode`, imported at its first use (0.2 s). Raises ValueError."""
    from eth_abi.abi import encode as encode_abi
    from eth_abi.exceptions import EncodingError

    try:
        return encode_abi(types, values)
    except EncodingError as error:
        raise ValueError(str(error)) from error


DECIMALS = "0x313ce567"
"""decimals()"""

"""What makes two requests the same: concrete path, query and the body as canonical JSON."""

from __future__ import annotations

import hashlib
from decimal import Decimal

import orjson


def canonical_json(value: object) -> bytes:
    """Keys sorted, no spaces, UTF-8: equal values give equal bytes, however they were typed.

    Decimals (numbers too long for a float) are written as their exact text.
    """
    return orjson.dumps(value, default=_exact, option=orjson.OPT_SORT_KEYS)


def _exact(value: object) -> str:
    if isinstance(value, (Decimal, int)):
        return f"number:{value}"
    raise TypeError(f"{type(value).__name__} is not JSON")


def fingerprint(*, path: str, query: str, body: object) -> bytes:
    """SHA-256 over the three, each length-prefixed so that none can pose as another."""
    digest = hashlib.sha256()
    for part in (path.encode(), query.encode(), canonical_json(body)):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()

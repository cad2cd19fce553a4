"""What makes two requests the same: concrete path, query and the body as canonical JSON."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal

import orjson


def canonical_json(value: object) -> bytes:
    """Keys sorted, no spaces, UTF-8: equal values give equal bytes, however they were typed.

    Integers of any length are exact. A Decimal becomes an object under a key with NUL, which no
    parsed body has, so that it equals nothing else.
    """
    try:
        return orjson.dumps(value, default=_exact, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:  # an integer of more than 64 bits: the same bytes, slower
        return _ENCODER.encode(value).encode()


def _exact(value: object) -> dict[str, str]:
    if isinstance(value, Decimal):
        return {"\0number": str(value)}
    raise TypeError(f"{type(value).__name__} is not JSON")


_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_exact
)


def fingerprint(*, path: str, query: str, body: object) -> bytes:
    """SHA-256 over the three, each length-prefixed so that none can pose as another."""
    digest = hashlib.sha256()
    for part in (path.encode(), query.encode(), canonical_json(body)):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()

"""Argon2id passwords, hashed in two threads so that a burst of sign-ins cannot starve the loop."""

from __future__ import annotations

import asyncio
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from wallet.identity.common_passwords import COMMON
from wallet.identity.errors import PasswordTooWeak

MIN_LENGTH = 12  # the only factor
MAX_LENGTH = 1024
# OWASP password storage: Argon2id, 19 MiB, t=2, p=1.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
_POOL = ThreadPoolExecutor(max_workers=2, thread_name_prefix="argon2")


@cache
def _decoy() -> str:
    """Verified against when there is no such user, so that both answers cost the same."""
    return _HASHER.hash("a password that nobody has")


def check_strength(password: str, *, about: tuple[str, ...] = ()) -> None:
    """Refuse the short, the common and the person's own name. Raises PasswordTooWeak."""
    normal = unicodedata.normalize("NFKC", password)
    # Both forms: one character may become eighteen, and is still one to guess.
    if min(len(normal), len(password)) < MIN_LENGTH:
        raise PasswordTooWeak(f"Use at least {MIN_LENGTH} characters.", field="/password")
    if len(password) > MAX_LENGTH:
        raise PasswordTooWeak(f"Use at most {MAX_LENGTH} characters.", field="/password")
    lowered = normal.lower().strip()
    stem = lowered.rstrip("0123456789!?.-_ ")
    if lowered in COMMON or stem in COMMON or len(set(lowered)) < 4:
        raise PasswordTooWeak("This password is among the first a thief tries.", field="/password")
    if any(word and lowered == word.lower() for word in about):
        raise PasswordTooWeak("The password must not be your name or address.", field="/password")


def _normal(password: str) -> bytes:
    return unicodedata.normalize("NFKC", password).encode()


async def hash_password(password: str) -> str:
    """The encoded Argon2id hash."""
    return await asyncio.get_running_loop().run_in_executor(_POOL, _HASHER.hash, _normal(password))


async def verify_password(encoded: str | None, password: str) -> bool:
    """Whether it matches. `None` (no such user) costs the same and is False."""
    return await asyncio.get_running_loop().run_in_executor(_POOL, _verify, encoded, password)


def _verify(encoded: str | None, password: str) -> bool:
    decoy = _decoy()  # made by whoever comes first, known or not
    try:
        _HASHER.verify(encoded or decoy, _normal(password[: MAX_LENGTH * 4]))
    except (Argon2Error, InvalidHashError):
        return False
    return encoded is not None

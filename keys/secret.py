"""Secrets that cannot be shown by accident.

`Secret` (bytes) and `SecretText` (str) have one door, `reveal()`. Printing, formatting, logging,
pickling and `vars` show nothing; copies are the same object; equality takes constant time.
Python cannot wipe memory reliably: a secret lives until its object is collected.
"""

from __future__ import annotations

import hmac
from typing import Generic, NoReturn, Self, TypeVar

T = TypeVar("T", bytes, str)


class _Sealed(Generic[T]):
    """A value whose only reader is `reveal()`."""

    __slots__ = ("__value",)
    __hash__ = None  # type: ignore[assignment]  # a hash of a short secret can be searched

    def __init__(self, value: T) -> None:
        object.__setattr__(self, "_Sealed__value", value)

    def reveal(self) -> T:
        """The secret itself. Use it inside one expression; do not bind it to a name."""
        value: T = object.__getattribute__(self, "_Sealed__value")
        return value

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(***)"

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return hmac.compare_digest(_as_bytes(self.reveal()), _as_bytes(other.reveal()))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __getstate__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be pickled")

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be pickled")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be pickled")


class Secret(_Sealed[bytes]):
    """Secret bytes: a seed, a private key, a data key, a capability."""

    __slots__ = ()

    def __init__(self, value: bytes) -> None:
        if not isinstance(value, bytes | bytearray):
            raise TypeError("Secret takes bytes")
        super().__init__(bytes(value))


class SecretText(_Sealed[str]):
    """Secret text: a mnemonic or a passphrase."""

    __slots__ = ()

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError("SecretText takes str")
        super().__init__(value)


def _as_bytes(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8")

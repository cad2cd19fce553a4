"""JSON as RFC 8259 means it, and nothing around it.

Refused: duplicate keys, NaN and Infinity, bad UTF-8, a byte order mark, lone surrogates, NUL in
strings (PostgreSQL cannot keep one) and nesting beyond `MAX_DEPTH`. Numbers with a fraction become
`Decimal`, never a float.
"""

from __future__ import annotations

import json
from decimal import Decimal, DecimalException
from typing import Any, NoReturn

from api.errors import DuplicateKey, MalformedJson

MAX_DEPTH = 32
MAX_INT_DIGITS = 400  # longer integers stay Decimal: no quadratic conversion


def parse(body: bytes) -> Any:
    """The value. Raises MalformedJson, DuplicateKey."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedJson("The body is not UTF-8.") from None
    if text.startswith("\ufeff"):
        raise MalformedJson("The body starts with a byte order mark.")
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise MalformedJson(f"The body is nested deeper than {MAX_DEPTH} levels.") from None
    except ValueError:
        raise MalformedJson("The body is not JSON.") from None
    # Half a surrogate pair or a NUL comes by an escape only, and no depth without a bracket each.
    if "\\u" in text or text.count("{") + text.count("[") > MAX_DEPTH:
        _inspect(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise DuplicateKey("An object in the body names a key twice.")
    return value


def _constant(_name: str) -> NoReturn:
    raise MalformedJson("NaN and Infinity are not JSON.")


def _decimal(digits: str) -> Decimal:
    try:
        return Decimal(digits)
    except DecimalException:
        raise MalformedJson("A number in the body is beyond any use.") from None


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= MAX_INT_DIGITS else Decimal(digits)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_constant=_constant,
    parse_float=_decimal,
    parse_int=_integer,
)


def _inspect(value: Any) -> None:
    """Depth and characters, without recursion."""
    level = [value]
    for _depth in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                for key in item:
                    _characters(key)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, str):
                _characters(item)
        if not below:
            return
        level = below
    raise MalformedJson(f"The body is nested deeper than {MAX_DEPTH} levels.")


def _characters(text: str) -> None:
    if "\0" in text:
        raise MalformedJson("A string in the body contains NUL.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise MalformedJson("A string in the body has half a surrogate pair.") from None

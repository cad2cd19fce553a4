"""Opaque ids: a prefix that names the kind, then a ULID from the real clock."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from ulid import ULID

Prefix = Literal[
    "usr",
    "prn",
    "acc",
    "ent",
    "hld",
    "trf",
    "adr",
    "dep",
    "wdr",
    "quo",
    "cnv",
    "rcp",
    "pay",
    "top",
    "key",
    "whk",
    "evt",
    "dlv",
    "cas",
    "apr",
    "una",
    "los",
    "ses",
    "int",
    "req",
    "leg",
    "swp",
    "tre",
    "sca",
    "scr",
    "scs",
    "wat",
    "rec",
    "cor",
]
_source: Callable[[], ULID] = ULID
_ID = re.compile(r"[a-z]{3}_[0-9A-HJKMNP-TV-Z]{26}")


def new_id(prefix: Prefix) -> str:
    """A fresh id, sortable by the millisecond it was made in."""
    return f"{prefix}_{_source()}"


def install(source: Callable[[], ULID] | None) -> None:
    """Tests only: make ids of these from now on, so that a schedule replays byte for byte; None
    takes it away again."""
    global _source
    _source = source or ULID


def is_id(value: str, prefix: Prefix) -> bool:
    """Whether `value` has the form of an id of that kind."""
    return value.startswith(prefix + "_") and _ID.fullmatch(value) is not None

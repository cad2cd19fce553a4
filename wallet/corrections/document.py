"""The file of `bifold ledger post`: entries by account path and decimal amount, nothing else."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wallet.errors import InvalidField
from wallet.money import Asset, parse_amount

MOST_BYTES = 1_000_000
MOST_ENTRIES = 100
MOST_POSTINGS = 50


class PostingIn(BaseModel):
    """`amount`: a decimal string in the account's asset; a plain one credits, `-` debits."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    account: str = Field(min_length=3, max_length=200)
    amount: str = Field(min_length=1, max_length=100)


class EntryIn(BaseModel):
    """One entry; it sums to zero in each asset. `reference`: the bank's own for what it books, so
    that both sides are compared by it; without one it is the correction's id."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    note: str = Field(min_length=1, max_length=500)
    reference: str | None = Field(default=None, min_length=1, max_length=200)
    postings: list[PostingIn] = Field(min_length=2, max_length=MOST_POSTINGS)


class BatchIn(BaseModel):
    """Entries that are posted together or not at all, and why."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    reason: str = Field(min_length=1, max_length=500)
    entries: list[EntryIn] = Field(min_length=1, max_length=MOST_ENTRIES)


def read_batch(raw: bytes) -> BatchIn:
    """Parse the file. Raises InvalidField, naming what is wrong by its place."""
    if len(raw) > MOST_BYTES:
        raise InvalidField(f"The file is longer than {MOST_BYTES} bytes.")
    try:
        whole: Any = orjson.loads(raw)
        return BatchIn.model_validate(whole)
    except orjson.JSONDecodeError:
        raise InvalidField("The file is not JSON.") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InvalidField(f"{place}: {first['msg']}.") from None


def signed_minor(amount: str, asset: Asset) -> int:
    """Minor units of a signed decimal string. Raises what `parse_amount` raises."""
    digits = amount.removeprefix("-")
    minor = parse_amount(digits, asset).minor
    return minor if digits == amount else -minor

"""What is typed after an option: names of operators (`--by`), heads of the seal (`--anchor`),
numbers of shares (`--shares`), nonces."""

from __future__ import annotations

import argparse
import re
import unicodedata

ANCHOR = re.compile(r"(0|[1-9][0-9]{0,17}):([0-9a-f]{64})")
SHARES = re.compile(r"([1-9][0-9]?)of([1-9][0-9]?)")
HOUSE = "bifold"
"""Who proposes in `wallet.treasury.moves`: nobody may borrow that name to be two people."""


def operator(text: str) -> str:
    """One spelling for one name: who proposes as `Ada` does not approve as ` ADA`."""
    name = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    if not 1 <= len(name) <= 60 or not name.isprintable():
        raise argparse.ArgumentTypeError("a name of 1 to 60 visible characters")
    if name == HOUSE:
        raise argparse.ArgumentTypeError("that is the house's own name; take yours")
    return name


def nonce(told: str) -> int:
    """The number of a transaction of one address."""
    if re.fullmatch(r"0|[1-9][0-9]{0,17}", told) is None:
        raise argparse.ArgumentTypeError("a whole number, from 0")
    return int(told)


def anchor(told: str) -> tuple[int, bytes]:
    """Number and hash of a link, from `SEQ:HASH` as `bifold seal head` prints it."""
    read = ANCHOR.fullmatch(told.strip().lower())
    if read is None:
        raise argparse.ArgumentTypeError("SEQ:HASH, as `bifold seal head` prints it")
    return int(read[1]), bytes.fromhex(read[2])


def shares(told: str) -> tuple[int, int]:
    """How many are enough, and how many there are, from `2of3`."""
    read = SHARES.fullmatch(told)
    if read is None:
        raise argparse.ArgumentTypeError(
            "say how many are enough and how many there are, like 2of3"
        )
    return int(read[1]), int(read[2])

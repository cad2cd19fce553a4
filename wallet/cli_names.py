"""Names of operators as they are typed after `--by`."""

from __future__ import annotations

import argparse
import unicodedata

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

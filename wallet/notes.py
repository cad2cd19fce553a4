"""The line of text that one person writes beside a payment to another."""

from __future__ import annotations

import unicodedata

from wallet.errors import InvalidField

MAX_NOTE = 200
# Embeddings, overrides and isolates: with them a note shows other words, or amounts, than it has.
REORDERING = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


def clean_note(note: str | None) -> str | None:
    """One line of visible text, or None. Raises InvalidField."""
    if note is None:
        return None
    cleaned = " ".join(unicodedata.normalize("NFC", note).split())
    if len(cleaned) > MAX_NOTE or any(
        unicodedata.category(c) in {"Cc", "Cs"} or unicodedata.bidirectional(c) in REORDERING
        for c in cleaned
    ):
        raise InvalidField(f"A note of at most {MAX_NOTE} visible characters.", field="/note")
    return cleaned or None

"""The reference that names a person on a bank transfer: an ISO 11649 creditor reference.

`RF`, two check digits (ISO 7064 mod 97-10, as an IBAN has), ten characters from an alphabet without
look-alikes. A slip of the pen fails the check digits or names nobody: the transfer is kept aside,
and never credited to somebody else.
"""

from __future__ import annotations

import re
import secrets

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
BODY_CHARS = 10  # 30^10 of them: nobody guesses another's
LENGTH = 4 + BODY_CHARS
TRIES = 5  # a collision with an older reference is next to impossible, and not an error
_NOT_IN_ONE = re.compile(r"[^0-9A-Z]")


def make() -> str:
    """A fresh reference."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(BODY_CHARS))
    return f"RF{98 - _mod97(body + 'RF00'):02d}{body}"


def is_reference(value: str) -> bool:
    """Whether form and check digits are those of a reference of ours."""
    return (
        len(value) == LENGTH
        and value.startswith("RF")
        and _NOT_IN_ONE.search(value) is None
        and value[2:4].isdigit()
        and _mod97(value[4:] + value[:4]) == 1
    )


def spaced(value: str) -> str:
    """In groups of four, as people copy it."""
    return " ".join(value[at : at + 4] for at in range(0, len(value), 4))


def found_in(words: str) -> set[str]:
    """Every reference in a transfer's text, however it is spaced or cased."""
    plain = _NOT_IN_ONE.sub("", words.upper())
    starts = (at for at in range(len(plain)) if plain.startswith("RF", at))
    return {one for at in starts if is_reference(one := plain[at : at + LENGTH])}


async def reference_of(session: AsyncSession, principal_id: str) -> str:
    """This person's reference, made the first time. Safe against a rival."""
    for _ in range(TRIES):
        known = await session.scalar(
            text("SELECT reference FROM bank_references WHERE principal_id = :who"),
            {"who": principal_id},
        )
        if known is not None:
            return str(known)
        await session.execute(
            text(
                "INSERT INTO bank_references (principal_id, reference) VALUES (:who, :reference)"
                " ON CONFLICT DO NOTHING"
            ),
            {"who": principal_id, "reference": make()},
        )
    raise AssertionError("no free reference was found")


async def owner_of(session: AsyncSession, words: str) -> str | None:
    """Whom a transfer's text names: by one reference, or by an id as its whole text. Else None.

    A text that names two people names nobody.
    """
    rows = await session.execute(
        text(
            "SELECT principal_id FROM bank_references WHERE reference = ANY(:found)"
            " UNION SELECT id FROM principals WHERE id = :words"
            " AND kind IN ('user', 'organisation')"
        ),
        {"found": sorted(found_in(words)), "words": words.strip()},
    )
    owners = list(rows.scalars())
    return owners[0] if len(owners) == 1 else None


def _mod97(characters: str) -> int:
    return int("".join(str(int(one, 36)) for one in characters)) % 97

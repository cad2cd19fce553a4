"""Registering people, finding them, and what they may change about themselves."""

from __future__ import annotations

import re
import secrets
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from email_validator import EmailNotValidError, validate_email
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.errors import InvalidField, NotFound
from wallet.identity.errors import EmailTaken, HandleUnavailable, InvalidEmail, RecipientNotFound
from wallet.identity.passwords import check_strength, hash_password
from wallet.ids import is_id, new_id
from wallet.throttle import hit

HANDLE = re.compile(r"[a-z][a-z0-9_]{2,29}")
HANDLE_TRIES = 8
HANDLE_CHANGES = 10  # of one person
DAY_SECONDS = 86_400
MAX_NAME = 80
SANDBOX_TIER = "sandbox"
NEW_TIER = "none"


@dataclass(frozen=True, slots=True)
class User:
    """A person as the rest of the system sees one."""

    id: str
    handle: str
    email: str
    display_name: str
    country: str
    kyc_tier: str
    locale: str
    display_asset: str
    frozen: bool
    created_at: datetime


_COLUMNS = (
    "id, handle, email, display_name, country, kyc_tier, locale, display_asset,"
    " EXISTS (SELECT FROM accounts a WHERE a.principal_id = users.id AND a.kind = 'customer'"
    "  AND a.status = 'frozen') AS frozen, created_at"
)


def _user(row: object) -> User:
    return User(**row._mapping)  # type: ignore[attr-defined]


async def register(
    session: AsyncSession,
    *,
    email: str,
    password: str,
    display_name: str,
    country: str,
    sandbox: bool,
) -> User:
    """A new person with a handle of their own. The sandbox verifies the address at once.

    Raises InvalidEmail, EmailTaken, PasswordTooWeak, InvalidField.
    """
    shown, key = normal_email(email)
    name = clean_name(display_name)
    place = clean_country(country)
    check_strength(password, about=(shown, name))
    encoded = await hash_password(password)
    if await session.scalar(text("SELECT 1 FROM users WHERE email_key = :key"), {"key": key}):
        raise EmailTaken("This address has an account already.", field="/email")
    user_id = new_id("usr")
    await session.execute(
        text("INSERT INTO principals (id, kind) VALUES (:id, 'user')"), {"id": user_id}
    )
    for _ in range(HANDLE_TRIES):
        proposed = _propose(name)
        await _lock_handles(session, proposed)
        made = await session.execute(
            text(
                "INSERT INTO users (id, handle, email, email_key, email_verified_at, password_hash,"
                " display_name, country, kyc_tier) SELECT :id, :handle, :email, :key,"
                " CASE WHEN :sandbox THEN clock_timestamp() END, :hash, :name, :country, :tier"
                " WHERE NOT EXISTS (SELECT FROM retired_handles WHERE handle = :handle)"
                f" ON CONFLICT DO NOTHING RETURNING {_COLUMNS}"
            ),
            {
                "id": user_id,
                "handle": proposed,
                "email": shown,
                "key": key,
                "sandbox": sandbox,
                "hash": encoded,
                "name": name,
                "country": place,
                "tier": SANDBOX_TIER if sandbox else NEW_TIER,
            },
        )
        row = made.one_or_none()
        if row is not None:
            return _user(row)
        if await session.scalar(text("SELECT 1 FROM users WHERE email_key = :key"), {"key": key}):
            raise EmailTaken("This address has an account already.", field="/email")
    raise HandleUnavailable("No free handle could be found; please try again.")


async def get_user(session: AsyncSession, user_id: str) -> User:
    """By id. Raises NotFound."""
    row = (
        await session.execute(text(f"SELECT {_COLUMNS} FROM users WHERE id = :id"), {"id": user_id})
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such person.")
    return _user(row)


async def change_user(
    session: AsyncSession,
    *,
    user_id: str,
    display_name: str | None = None,
    locale: str | None = None,
    display_asset: str | None = None,
    handle: str | None = None,
) -> User:
    """Change what is given. A handle once left is never given again, so that a day has
    HANDLE_CHANGES of them. Raises HandleUnavailable, RateLimited, InvalidField."""
    if handle is not None:
        await _change_handle(session, user_id=user_id, handle=handle)
    row = (
        await session.execute(
            text(
                "UPDATE users SET display_name = coalesce(:name, display_name),"
                " locale = coalesce(:locale, locale),"
                " display_asset = coalesce(:asset, display_asset)"
                f" WHERE id = :id RETURNING {_COLUMNS}"
            ),
            {
                "id": user_id,
                "locale": locale,
                "asset": display_asset,
                "name": None if display_name is None else clean_name(display_name),
            },
        )
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such person.")
    return _user(row)


async def _change_handle(session: AsyncSession, *, user_id: str, handle: str) -> None:
    wanted = handle.removeprefix("@")
    if not HANDLE.fullmatch(wanted):
        raise HandleUnavailable(
            "3 to 30 lower-case letters, digits or _, starting with a letter.", field="/handle"
        )
    current = await session.scalar(
        text("SELECT handle FROM users WHERE id = :id FOR UPDATE"), {"id": user_id}
    )
    if current is None or current == wanted:
        return
    await _lock_handles(session, current, wanted)
    taken = await session.scalar(
        text(
            "SELECT 1 FROM users WHERE handle = :handle"
            " UNION ALL SELECT 1 FROM retired_handles WHERE handle = :handle LIMIT 1"
        ),
        {"handle": wanted},
    )
    if taken:
        raise HandleUnavailable("This handle is not free.", field="/handle")
    # Each one left is nobody's for ever: one person may not use them up.
    await hit(session, f"handle:{user_id}", limit=HANDLE_CHANGES, window_seconds=DAY_SECONDS)
    await session.execute(
        text("INSERT INTO retired_handles (handle) VALUES (:handle)"), {"handle": current}
    )
    await session.execute(
        text("UPDATE users SET handle = :handle WHERE id = :id"), {"id": user_id, "handle": wanted}
    )


async def _lock_handles(session: AsyncSession, *handles: str) -> None:
    """Until the commit nobody else takes or leaves these: what is read of them stays true."""
    for handle in sorted(handles):
        await session.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"),
            {"name": f"handle:{handle}"},
        )


async def find_recipient(session: AsyncSession, to: str) -> User:
    """Who receives: `@handle`, a verified e-mail, or a user id. Raises RecipientNotFound."""
    column, value = named_by(to)
    row = None
    if column is not None:
        row = (
            await session.execute(
                text(f"SELECT {_COLUMNS} FROM users WHERE {_NAMED[column]}"), {"value": value}
            )
        ).one_or_none()
    if row is None:
        raise nobody()
    return _user(row)


NameKind = Literal["handle", "id", "email_key"]
_NAMED: dict[NameKind, str] = {
    "handle": "handle = :value",
    "id": "id = :value",
    "email_key": "email_key = :value AND email_verified_at IS NOT NULL",
}


def named_by(to: str) -> tuple[NameKind | None, str]:
    """By what somebody is named, and its value as it is compared; (None, "") is nobody."""
    wanted = to.strip()
    if wanted.startswith("@"):
        return "handle", wanted[1:].lower()
    if is_id(wanted, "usr"):
        return "id", wanted
    if "@" in wanted:
        return "email_key", unicodedata.normalize("NFKC", wanted).lower()
    return None, ""


def nobody() -> RecipientNotFound:
    """The refusal of a name that nobody here has."""
    return RecipientNotFound("Nobody here by that name.", field="/to")


def normal_email(email: str) -> tuple[str, str]:
    """(as shown, as compared). Raises InvalidEmail."""
    try:
        checked = validate_email(
            email, check_deliverability=False, allow_smtputf8=True, test_environment=True
        )
    except EmailNotValidError:
        raise InvalidEmail("This is not an e-mail address.", field="/email") from None
    shown = checked.normalized
    return shown, unicodedata.normalize("NFKC", shown).lower()


def clean_name(name: str) -> str:
    """A name to show: trimmed, one line, no control characters. Raises InvalidField."""
    cleaned = " ".join(unicodedata.normalize("NFC", name).split())
    if (
        not cleaned
        or len(cleaned) > MAX_NAME
        or any(unicodedata.category(letter) in {"Cc", "Cf", "Cs", "Co"} for letter in cleaned)
    ):
        raise InvalidField(f"A name of 1 to {MAX_NAME} visible characters.", field="/display_name")
    return cleaned


def clean_country(country: str) -> str:
    """An ISO 3166-1 alpha-2 code. Raises InvalidField."""
    from babel import Locale

    if country not in Locale("en").territories or not re.fullmatch(r"[A-Z]{2}", country):
        raise InvalidField('A country as two letters, for example "DE".', field="/country")
    return country


def _propose(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    stem = re.sub(r"[^a-z0-9]+", "", plain)[:16]
    if not stem or not stem[0].isalpha():
        stem = "user" + stem
    return f"{stem}_{secrets.randbelow(9_000) + 1_000}"

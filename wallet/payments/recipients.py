"""Recipients: where somebody sends money, checked once, kept as checked."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from chain import address as chain_address
from chain.errors import InvalidAddress
from wallet.errors import InvalidField, NotFound
from wallet.identity import find_recipient
from wallet.ids import new_id
from wallet.payments import recipient_repository
from wallet.payments.recipient_checks import CHECKS

NAME_LIMIT = 140  # ISO 20022 Max140Text
SHOWN_CHARACTERS = 4
# What each type takes beside name and country, for forms and API schemas.
FIELDS: dict[str, tuple[str, ...]] = {
    **{kind: fields for kind, (_check, fields, _country) in CHECKS.items()},
    "wallet": ("to",),
    "evm": ("network", "address"),
}
# Which of them is the account itself.
ACCOUNT_FIELDS = ("iban", "clabe", "account", "address", "to")


@dataclass(frozen=True, slots=True)
class RecipientDraft:
    """A recipient as typed; `details` by the type's FIELDS."""

    type: str
    name: str
    country: str
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recipient:
    """A checked recipient. `details` in canonical form: no spaces, upper case, EIP-55."""

    id: str
    principal_id: str
    type: str
    name: str
    country: str
    details: Mapping[str, str]
    created_at: datetime

    @property
    def label(self) -> str:
        """Name and the end of the account, as lists show it."""
        return f"{self.name} …{self.account[-SHOWN_CHARACTERS:]}"

    @property
    def account(self) -> str:
        """The number or name that money is sent to."""
        return next(self.details[name] for name in ACCOUNT_FIELDS if name in self.details)


async def create(
    session: AsyncSession,
    *,
    principal_id: str,
    draft: RecipientDraft,
    networks: Collection[str] = (),
) -> Recipient:
    """Check and keep. Raises InvalidField (with its pointer), RecipientNotFound."""
    name = _clean_name(draft.name)
    if not re.fullmatch(r"[A-Z]{2}", draft.country, re.ASCII):
        raise InvalidField('A country as two letters, for example "MX".', field="/country")
    details = await _checked(session, draft, networks)
    row = await recipient_repository.insert(
        session,
        recipient_id=new_id("rcp"),
        principal_id=principal_id,
        kind=draft.type,
        name=name,
        country=draft.country,
        details=details,
    )
    return view(row)


async def _checked(
    session: AsyncSession, draft: RecipientDraft, networks: Collection[str]
) -> dict[str, str]:
    if draft.type not in FIELDS:
        raise InvalidField(f"One of {', '.join(FIELDS)}.", field="/type")
    for name in FIELDS[draft.type]:
        if not draft.details.get(name):
            raise InvalidField(f"This type needs {name}.", field=f"/{name}")
    for name in draft.details:
        if name not in FIELDS[draft.type]:
            raise InvalidField("This type has no such field.", field=f"/{name}")
    if draft.type == "wallet":
        found = await find_recipient(session, draft.details["to"])
        return {"to": f"@{found.handle}", "user_id": found.id}
    if draft.type == "evm":
        return _evm(draft.details, networks)
    check, _fields, country = CHECKS[draft.type]
    if country is not None and draft.country != country:
        raise InvalidField(f"An account of this type is in {country}.", field="/country")
    return check(draft.details)


def _evm(details: Mapping[str, str], networks: Collection[str]) -> dict[str, str]:
    if details["network"] not in networks:
        raise InvalidField("This network is not known here.", field="/network")
    try:
        checked = chain_address.checked(details["address"])
    except InvalidAddress as error:
        raise InvalidField(f"{error}.", field="/address") from None
    return {"network": details["network"], "address": checked}


def _clean_name(name: str) -> str:
    cleaned = " ".join(unicodedata.normalize("NFC", name).split())
    if not 2 <= len(cleaned) <= NAME_LIMIT or any(
        unicodedata.category(letter) in {"Cc", "Cf", "Cs", "Co"} for letter in cleaned
    ):
        raise InvalidField(f"A name of 2 to {NAME_LIMIT} visible characters.", field="/name")
    return cleaned


def view(row: RowMapping) -> Recipient:
    """The stored row as its owner sees it."""
    return Recipient(
        id=row["id"],
        principal_id=row["principal_id"],
        type=row["type"],
        name=row["name"],
        country=row["country"],
        details=dict(row["details"]),
        created_at=row["created_at"],
    )


async def get(session: AsyncSession, *, principal_id: str, recipient_id: str) -> Recipient:
    """One recipient of this principal. Raises NotFound."""
    row = await recipient_repository.find(
        session, principal_id=principal_id, recipient_id=recipient_id
    )
    if row is None:
        raise NotFound("There is no such recipient.")
    return view(row)


async def page(
    session: AsyncSession,
    *,
    principal_id: str,
    limit: int,
    cursor: tuple[datetime, str] | None,
    type_: str | None = None,
) -> list[Recipient]:
    """Newest first, `limit + 1` at most; of one type when asked."""
    rows = await recipient_repository.page(
        session, principal_id=principal_id, limit=limit, cursor=cursor, kind=type_
    )
    return [view(row) for row in rows]

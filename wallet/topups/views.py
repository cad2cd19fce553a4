"""Top-ups and cards as the rest of the service sees them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from wallet.money import AssetBook, Money
from wallet.topups.states import Method, Status, Waiting


@dataclass(frozen=True, slots=True)
class Card:
    """A bound card. `token` is the gateway's and is shown to nobody."""

    id: str
    principal_id: str
    token: str
    brand: str
    last4: str
    exp_month: int
    exp_year: int
    created_at: datetime
    removed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Topup:
    """One top-up. `waiting_for` and `action_url` only while it is pending."""

    id: str
    principal_id: str
    method: Method
    money: Money
    status: Status
    waiting_for: Waiting | None
    action_url: str | None
    reason: str | None
    card: Card | None
    kept_aside: bool
    expires_at: datetime | None
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class BankDetails:
    """Where a bank transfer of one asset is sent, and what is written on it."""

    asset: str
    bank: str
    holder: str
    account: str
    reference: str
    simulated: bool


def card_of(row: Any) -> Card:
    """From a row of `cards`."""
    return Card(
        row["id"], row["principal_id"], row["token"], row["brand"], row["last4"],
        row["exp_month"], row["exp_year"], row["created_at"], row["removed_at"],
    )  # fmt: skip


def topup_of(row: Any, assets: AssetBook, card: Card | None) -> Topup:
    """From a row of `topups` and its card."""
    return Topup(
        id=row["id"],
        principal_id=row["principal_id"],
        method=cast(Method, row["method"]),
        money=assets.money(row["asset"], int(row["amount_minor"])),
        status=cast(Status, row["status"]),
        waiting_for=cast("Waiting | None", row["waiting_for"]),
        action_url=row["action_url"],
        reason=row["reason"],
        card=card,
        kept_aside=row["kept_aside"],
        expires_at=row["expires_at"],
        created_at=row["created_at"],
        ended_at=row["ended_at"],
    )

"""What a hold is to the people on both sides of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from wallet.identity.lookup import Person
from wallet.money import Money

HoldStatus = Literal["open", "captured", "voided", "expired"]
KIND = "payment_hold"
SHORTEST_SECONDS = 60
LONGEST_SECONDS = 30 * 86_400


@dataclass(frozen=True, slots=True)
class Hold:
    """`money` was set aside; `captured` went to the payee, `released` back, `remaining` is held.

    `status`: `open`; `captured` when all of it was; `voided` or `expired` when the rest went back.
    """

    id: str
    status: HoldStatus
    payer: Person
    payee: Person
    money: Money
    captured: Money
    released: Money
    note: str | None
    expires_at: datetime
    created_at: datetime

    @property
    def remaining(self) -> Money:
        """What may still be captured."""
        left = self.money.minor - self.captured.minor - self.released.minor
        return Money(left, self.money.asset)


@dataclass(frozen=True, slots=True)
class HoldCapture:
    """One capture, as it was booked."""

    entry_id: str
    money: Money
    at: datetime


@dataclass(frozen=True, slots=True)
class HoldWanted:
    """A hold as its payer asks for it."""

    payer_id: str
    to: str
    money: Money
    expires_in_seconds: int
    note: str | None


@dataclass(frozen=True, slots=True)
class Capture:
    """`money` None: all that remains."""

    principal_id: str
    hold_id: str
    money: Money | None

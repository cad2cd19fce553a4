"""A payment as people see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from wallet.fx.quotes import Fee, Quote
from wallet.money import Money
from wallet.payments.recipients import Recipient


@dataclass(frozen=True, slots=True)
class Leg:
    """One stretch of the way. `status`: pending, submitted, done, skipped, failed, returned."""

    kind: str
    status: str
    money: Money
    reference: str | None
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""

    type: str
    at: datetime
    detail: str


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment with its whole story.

    `waiting_for` is `bank_answer` or `bank_settlement` while it waits, `waiting_until` when the
    rail promises to have spoken; `review` before the bank hears of it, without a time. `refund` is
    what came back to the payer, if anything did.
    """

    id: str
    uetr: str
    principal_id: str
    status: str
    reason: str | None
    quote: Quote
    recipient: Recipient
    corridor: str
    rail: str
    purpose: str
    reference: str | None
    travel_rule: Mapping[str, Any] | None
    waiting_for: str | None
    waiting_until: datetime | None
    refund: Money | None
    legs: tuple[Leg, ...]
    events: tuple[Event, ...]
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None

    @property
    def source(self) -> Money:
        """The whole debit."""
        return self.quote.source

    @property
    def target(self) -> Money:
        """What the recipient gets."""
        return self.quote.target

    @property
    def fees(self) -> tuple[Fee, ...]:
        """The fees inside the source."""
        return self.quote.fees

    @property
    def simulated(self) -> bool:
        """Whether the rail or the rate is a simulation."""
        return self.quote.simulated

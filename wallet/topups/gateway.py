"""What a card gateway promises: take a charge once by its reference, answer for it, show its list.

An adapter to a real gateway implements `Gateway`. Whatever it cannot be sure of it says by raising
GatewaySilent: the money may or may not have moved, and only a later answer can tell. A callback of
a gateway carries no truth: it is a reason to ask (`TopupTasks.called_back`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from wallet.errors import WalletError
from wallet.money import Money

ChargeStatus = Literal[
    "processing", "action_needed", "succeeded", "declined", "cancelled", "charged_back"
]
ListKind = Literal["charge", "charge_back"]


class GatewaySilent(WalletError):
    """No answer. Nothing is known about the charge; ask again by its reference."""

    code = "gateway_silent"
    retryable = True


class ChargeReferenceReused(WalletError):
    """The gateway knows this reference for another charge: a defect of ours, nothing was taken."""

    code = "charge_reference_reused"


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What may be known of a card without its number. `token` is worth nothing elsewhere."""

    token: str
    brand: str
    last4: str
    exp_month: int
    exp_year: int


@dataclass(frozen=True, slots=True)
class ChargeOrder:
    """Take `money` from the card behind `token`. `reference` is ours and names it for ever."""

    reference: str
    token: str
    money: Money


@dataclass(frozen=True, slots=True)
class ChargeAnswer:
    """What the gateway says of a charge. `money`: what it took; None while and where nothing was.

    `action_url`: where the card's holder proves who they are, while that is asked (3-D Secure).
    """

    status: ChargeStatus
    at: datetime
    money: Money | None = None
    reason: str | None = None
    action_url: str | None = None


@dataclass(frozen=True, slots=True)
class ListLine:
    """One movement of what the gateway owes us. Negative: it took money back. Minor units."""

    line_id: int
    asset: str
    kind: ListKind
    reference: str
    amount_minor: int
    balance_after_minor: int
    at: datetime


class Gateway(Protocol):
    """A company that takes money from cards for us."""

    name: str
    simulated: bool

    async def card(self, token: str) -> CardFacts | None:
        """The card behind a token; None for one it does not know. Raises GatewaySilent."""
        ...

    async def forget(self, token: str) -> None:
        """The token is worth nothing from now on. Raises GatewaySilent."""
        ...

    async def charge(self, order: ChargeOrder) -> ChargeAnswer:
        """Take the money. The same reference again changes nothing and gives its answer.

        Raises GatewaySilent, ChargeReferenceReused.
        """
        ...

    async def query(self, reference: str) -> ChargeAnswer | None:
        """What is known of the charge; None when it never arrived. Raises GatewaySilent."""
        ...

    async def cancel(self, reference: str) -> ChargeAnswer:
        """Stop it if it has not ended; what has ended stays. A charge that arrives later by this
        reference is refused. Raises GatewaySilent."""
        ...

    async def lines(self, asset: str, *, after: int, limit: int) -> Sequence[ListLine]:
        """Its own list of one asset in order, those after line `after`."""
        ...

    async def assets(self) -> Sequence[str]:
        """The assets in which it owes us something or did."""
        ...

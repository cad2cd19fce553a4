"""What a rail promises: take an order once by its reference, answer for it, show a statement.

An adapter to a real bank implements `Rail`. Whatever it cannot be sure of it says by raising
BankSilent: the money may or may not have moved, and only a later answer can tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from wallet.errors import WalletError
from wallet.money import Money

AnswerStatus = Literal["accepted", "settled", "refused", "returned"]
LineKind = Literal["opening", "credit", "payout", "return", "correction"]
FINAL_ANSWERS: frozenset[str] = frozenset({"settled", "refused", "returned"})


class BankSilent(WalletError):
    """No answer. Nothing is known about the order; ask again by its reference."""

    code = "bank_silent"
    retryable = True


class ReferenceReused(WalletError):
    """The bank knows this reference for another order: a defect on our side, nothing was paid."""

    code = "payout_reference_reused"


@dataclass(frozen=True, slots=True)
class PayoutOrder:
    """Pay `money` to `beneficiary`. `reference` is ours and names this order for ever."""

    reference: str
    rail: str
    money: Money
    beneficiary: Mapping[str, str]
    remittance: str


@dataclass(frozen=True, slots=True)
class BankAnswer:
    """What the bank says about an order. `reason` is an ISO 20022 code with words."""

    status: AnswerStatus
    at: datetime
    reason: str | None = None

    @property
    def final(self) -> bool:
        """Whether the bank means to say no more."""
        return self.status in FINAL_ANSWERS


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One movement on our account as the bank shows it. Negative: money left it."""

    line_id: int
    asset: str
    kind: LineKind
    reference: str
    amount_minor: int
    balance_after_minor: int
    about: str
    at: datetime


class Rail(Protocol):
    """A bank that pays out for us."""

    bank: str
    title: str
    simulated: bool

    def account_number(self, asset: str) -> str:
        """Our account there for this asset: where people send transfers."""
        ...

    async def submit(self, order: PayoutOrder) -> BankAnswer:
        """Take the order. The same reference again changes nothing and gives its answer.

        Raises BankSilent, ReferenceReused.
        """
        ...

    async def query(self, reference: str) -> BankAnswer | None:
        """What is known of the order; None when it never arrived. Raises BankSilent."""
        ...

    async def statement(self, asset: str, *, after: int, limit: int) -> Sequence[StatementLine]:
        """Lines of one account in order, those after line `after`."""
        ...

    async def assets(self) -> Sequence[str]:
        """The assets in which we have an account there."""
        ...

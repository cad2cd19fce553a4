"""The few words both ends of a signer share. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, get_args

Kind = Literal["pay", "bump", "cancel", "noop"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
EntryKind = Literal["pay", "bump", "cancel", "noop", "authorize"]
"""What a journal holds: the four, and authorisations, which use no nonce of ours."""
ENTRY_KINDS: Final[tuple[EntryKind, ...]] = get_args(EntryKind)
MAX_PAYLOAD_BYTES: Final = 28_000
MAX_INTENT_ID_LENGTH: Final = 128
MAX_ASKED: Final = 128
"""Intents that one question about the journal may name, and places that one answer does."""
GRANT_SECONDS: Final = 120.0
"""So long the signer keeps an own account open for one payment; later it signs nothing for it."""
SIGNATURE_BYTES: Final = 65
MAX_APPROVALS: Final = 16
"""Operators' signatures that one request may carry."""


@dataclass(frozen=True, slots=True)
class SignedTx:
    """Signed bytes ready to broadcast, and the transaction hash (`0x…`) they will have."""

    raw: bytes
    tx_hash: str


@dataclass(frozen=True, slots=True)
class SignedBefore:
    """What the journal says of a nonce of `address` (EIP-55): whose it is, and the fees that were
    signed there first (wei per gas)."""

    intent_id: str
    chain_id: int
    address: str
    nonce: int
    tip: int
    cap: int

    def document(self) -> dict[str, str | int]:
        """As JSON has it; what may pass 2**53 is text."""
        return {
            "intent_id": self.intent_id, "chain_id": self.chain_id, "address": self.address,
            "nonce": self.nonce, "tip": str(self.tip), "cap": str(self.cap),
        }  # fmt: skip

    @classmethod
    def from_document(cls, told: Mapping[str, Any]) -> Self:
        """The inverse of `document`. Raises KeyError, TypeError or ValueError."""
        numbers = {name: int(told[name]) for name in ("chain_id", "nonce", "tip", "cap")}
        return cls(intent_id=str(told["intent_id"]), address=str(told["address"]), **numbers)


@dataclass(frozen=True, slots=True)
class ApprovalLimits:
    """Which payments of one chain need an operator's signature.

    `above`: the largest amount without one, by `native` or the token's contract, in its smallest
    unit. `exempt`: recipients (EIP-55) to whom no limit applies. `operators`: whose signatures
    count. `warm`: addresses from which nothing leaves without those of `warm_signatures` of them.
    `fee_ceiling`: wei per gas above which nothing is signed; None: it was not told.
    """

    above: Mapping[str, int]
    exempt: frozenset[str]
    warm: frozenset[str] = frozenset()
    warm_signatures: int = 0
    operators: frozenset[str] = frozenset()
    fee_ceiling: int | None = None

    def asks(self, *, asset: str, amount: int, to: str, sender: str | None = None) -> int:
        """How many operators must have signed for this payment."""
        if sender in self.warm:
            return self.warm_signatures
        limit = self.above.get(asset)
        return int(limit is not None and amount > limit and to not in self.exempt)


@dataclass(frozen=True, slots=True)
class SignRequest:
    """One request to sign: whose key, which unsigned bytes, for which intent, and why.

    `deposit_index`: the key is that child of the deposit account. `approval`: operators' signatures
    (65 bytes each, one behind the other) where the policy asks for them.
    """

    address: str
    payload: bytes
    intent_id: str
    kind: Kind
    deposit_index: int | None = None
    approval: bytes = b""


def approval_text(
    *, intent_id: str, chain_id: int, to: str, asset: str, amount: int, warm: str | None = None
) -> str:
    """What an operator signs (EIP-191): one payment above the signer's limit, or out of `warm`.

    `to`, `warm`: EIP-55; `asset`: `native` or the token's contract; `amount` in its smallest unit.
    """
    what, sender = "pass above the signer's limit", ""
    if warm is not None:
        what, sender = "leave the warm address", f"from: {warm}\n"
    return (
        f"Bifold: let this payment {what}.\n"
        f"intent: {intent_id}\nchain: {chain_id}\n{sender}to: {to}\n"
        f"asset: {asset}\namount: {amount}"
    )

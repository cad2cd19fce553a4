"""The few words both ends of a signer share. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

Kind = Literal["pay", "bump", "cancel", "noop"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
EntryKind = Literal["pay", "bump", "cancel", "noop", "authorize"]
"""What a journal holds: the four, and authorisations, which use no nonce of ours."""
ENTRY_KINDS: Final[tuple[EntryKind, ...]] = get_args(EntryKind)
MAX_PAYLOAD_BYTES: Final = 28_000
MAX_INTENT_ID_LENGTH: Final = 128


@dataclass(frozen=True, slots=True)
class SignedTx:
    """Signed bytes ready to broadcast, and the transaction hash (`0x…`) they will have."""

    raw: bytes
    tx_hash: str


@dataclass(frozen=True, slots=True)
class ApprovalLimits:
    """Which payments of one chain need an operator's signature.

    `above`: the largest amount without one, by `native` or the token's contract, in its smallest
    unit. `exempt`: recipients (EIP-55) to whom no limit applies.
    """

    above: Mapping[str, int]
    exempt: frozenset[str]

    def asks(self, *, asset: str, amount: int, to: str) -> bool:
        """Whether this payment needs one."""
        limit = self.above.get(asset)
        return limit is not None and amount > limit and to not in self.exempt


@dataclass(frozen=True, slots=True)
class SignRequest:
    """One request to sign: whose key, which unsigned bytes, for which intent, and why.

    `deposit_index`: the key is that child of the deposit account. `approval`: an operator's
    signature (65 bytes) where the policy asks for one.
    """

    address: str
    payload: bytes
    intent_id: str
    kind: Kind
    deposit_index: int | None = None
    approval: bytes = b""


def approval_text(*, intent_id: str, chain_id: int, to: str, asset: str, amount: int) -> str:
    """What an operator signs (EIP-191) to let one payment pass above the signer's limit.

    `to`: EIP-55; `asset`: `native` or the token's contract; `amount` in its smallest unit.
    """
    return (
        "Bifold: let this payment pass above the signer's limit.\n"
        f"intent: {intent_id}\nchain: {chain_id}\nto: {to}\nasset: {asset}\namount: {amount}"
    )

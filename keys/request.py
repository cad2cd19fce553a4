"""The few words both ends of a signer share. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

Kind = Literal["pay", "bump", "cancel", "noop"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
MAX_PAYLOAD_BYTES: Final = 16_384
MAX_INTENT_ID_LENGTH: Final = 128


@dataclass(frozen=True, slots=True)
class SignedTx:
    """Signed bytes ready to broadcast, and the transaction hash (`0x…`) they will have."""

    raw: bytes
    tx_hash: str


@dataclass(frozen=True, slots=True)
class SignRequest:
    """One request to sign: whose key, which unsigned bytes, for which intent, and why."""

    address: str
    payload: bytes
    intent_id: str
    kind: Kind

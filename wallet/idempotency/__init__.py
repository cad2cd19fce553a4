"""Retries are safe: one effect for one key, and the first answer again for every repeat."""

from wallet.idempotency.answers import Answer, Claim, Replay, claim, replay, store
from wallet.idempotency.errors import IdempotencyInProgress, IdempotencyMismatch
from wallet.idempotency.fingerprint import canonical_json, fingerprint
from wallet.idempotency.once import Outcome, once

__all__ = [
    "Answer",
    "Claim",
    "IdempotencyInProgress",
    "IdempotencyMismatch",
    "Outcome",
    "Replay",
    "canonical_json",
    "claim",
    "fingerprint",
    "once",
    "replay",
    "store",
]

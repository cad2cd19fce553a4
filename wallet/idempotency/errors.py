"""Refusals about idempotency keys."""

from __future__ import annotations

from wallet.errors import WalletError


class IdempotencyMismatch(WalletError):
    """The key belongs to a request with another path, query or body."""

    code = "idempotency_mismatch"


class IdempotencyInProgress(WalletError):
    """The first request with this key has not ended within the time a rival waits."""

    code = "idempotency_in_progress"
    retryable = True

"""Refusals of the chain's side."""

from __future__ import annotations

from wallet.errors import WalletError


class ChainUnavailable(WalletError):
    """The network cannot be used now: no fresh word from its node, or it is halted."""

    code = "chain_unavailable"
    retryable = True

"""Refusals of the chain's side."""

from __future__ import annotations

from wallet.errors import ChainUnavailable, WalletError
from wallet.onchain.states import State

__all__ = ["ChainUnavailable", "FeeBoundReached", "TooLate"]


class FeeBoundReached(WalletError):
    """A replacement would cost more per gas than the payment may."""

    code = "fee_bound_reached"


class TooLate(Exception):
    """The intent is where this can no longer, or not yet, be asked; `state` says where."""

    def __init__(self, state: State) -> None:
        super().__init__(str(state))
        self.state = state

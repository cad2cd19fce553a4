"""Refusals of the chain's side."""

from __future__ import annotations

from wallet.errors import WalletError
from wallet.onchain.states import State


class ChainUnavailable(WalletError):
    """The network cannot be used now: no fresh word from its node, or it is halted."""

    code = "chain_unavailable"
    retryable = True


class FeeBoundReached(WalletError):
    """A replacement would cost more per gas than the payment may."""

    code = "fee_bound_reached"


class TooLate(Exception):
    """The intent is where this can no longer, or not yet, be asked; `state` says where."""

    def __init__(self, state: State) -> None:
        super().__init__(str(state))
        self.state = state

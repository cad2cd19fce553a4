"""Sending on chain: one intent, one nonce, one set of bytes at a time, paid exactly once."""

from wallet.onchain.desk import Desk
from wallet.onchain.errors import ChainUnavailable, FeeBoundReached, TooLate
from wallet.onchain.finality import final_number
from wallet.onchain.intents import Attempt, Follower, Intent, IntentDraft
from wallet.onchain.network import NetworkObserver, NetworkStatus, require_usable
from wallet.onchain.replace import let_go, request_cancel, request_speed_up
from wallet.onchain.runner import IntentRunner
from wallet.onchain.states import TRANSITIONS, State

__all__ = [
    "TRANSITIONS",
    "Attempt",
    "ChainUnavailable",
    "Desk",
    "FeeBoundReached",
    "Follower",
    "Intent",
    "IntentDraft",
    "IntentRunner",
    "NetworkObserver",
    "NetworkStatus",
    "State",
    "TooLate",
    "final_number",
    "let_go",
    "request_cancel",
    "request_speed_up",
    "require_usable",
]

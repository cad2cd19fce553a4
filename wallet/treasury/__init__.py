"""Treasury: coins on their way from cold to hot. Cold keys are never here."""

from wallet.treasury.cold import Sent, broadcast, prepare

__all__ = ["Sent", "broadcast", "prepare"]

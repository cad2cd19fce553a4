"""The seal: a gapless chain of hashes over entries and events, made right behind the commits."""

from wallet.seal.sealer import DUE, TICK_SECONDS, Head, Sealer, head, tail_seconds
from wallet.seal.verify import Anchor, Finding, Verified, verify

__all__ = [
    "DUE",
    "TICK_SECONDS",
    "Anchor",
    "Finding",
    "Head",
    "Sealer",
    "Verified",
    "head",
    "tail_seconds",
    "verify",
]

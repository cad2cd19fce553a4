"""The books against chain and bank: read each minute, kept, a case where they differ."""

from wallet.reconcile.chain import ChainReport, ReconcileFailed, chain_lines
from wallet.reconcile.reading import Read, Reading, take
from wallet.reconcile.watch import TICK_SECONDS, ReconcileWatch

__all__ = [
    "TICK_SECONDS",
    "ChainReport",
    "Read",
    "Reading",
    "ReconcileFailed",
    "ReconcileWatch",
    "chain_lines",
    "take",
]

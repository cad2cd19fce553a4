"""Treasury: how much lies hot, moves between hot, warm and cold. Cold keys are never here."""

from wallet.treasury.cold import Sent, broadcast, prepare
from wallet.treasury.follower import TreasuryFollower
from wallet.treasury.moves import TREASURY
from wallet.treasury.watch import TreasuryWatch

__all__ = ["TREASURY", "Sent", "TreasuryFollower", "TreasuryWatch", "broadcast", "prepare"]

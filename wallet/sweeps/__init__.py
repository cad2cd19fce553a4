"""Sweeps: coins move from deposit addresses to the treasury. Customers never see one."""

from wallet.sweeps.follower import SweepFollower
from wallet.sweeps.sweeper import SWEEP, TICK_SECONDS, TOP_UP, Sweeper

__all__ = ["SWEEP", "TICK_SECONDS", "TOP_UP", "SweepFollower", "Sweeper"]

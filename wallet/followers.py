"""Who follows which purpose of an intent: the whole list in one place."""

from __future__ import annotations

from collections.abc import Mapping

from chain.registry import Network
from wallet.money import AssetBook
from wallet.onchain import Follower
from wallet.sweeps import SWEEP, TOP_UP, SweepFollower
from wallet.treasury import TREASURY, TreasuryFollower
from wallet.withdrawals import PURPOSE, WithdrawalFollower


def followers(assets: AssetBook, networks: Mapping[str, Network]) -> dict[str, Follower]:
    """Followers by purpose; batches and allowances follow themselves (`wallet.onchain.batch`)."""
    moves = SweepFollower(assets, networks)
    return {
        PURPOSE: WithdrawalFollower(assets, networks),
        SWEEP: moves,
        TOP_UP: moves,
        TREASURY: TreasuryFollower(assets, networks),
    }

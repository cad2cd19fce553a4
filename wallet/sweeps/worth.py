"""What a sweep must bring to be worth its gas."""

from __future__ import annotations

from chain.registry import Network, Token
from wallet.db import Database
from wallet.fx import rates
from wallet.fx.errors import RateStale
from wallet.money import AssetBook

COIN_WORTH = 20
"""A coin sweep brings at least so many times its gas."""
TOKEN_WORTH = 5
GAS_EACH = 35_000
"""What one address costs in a batch."""


async def tokens_worth(
    db: Database, assets: AssetBook, network: Network, token: Token, *, minor: int, cost_wei: int
) -> bool:
    """Whether tokens are worth several times the gas; by `sweep_min` where no rate is."""
    native = assets.get(network.native_asset)
    try:
        async with db.transaction() as session:
            mid = await rates.mid(session, source=assets.get(token.code), target=native)
    except RateStale:
        return token.sweep_min > 0
    value = rates.at_rate(
        minor, source_scale=token.decimals, target_scale=native.scale, rate=mid.mid
    )
    return value >= TOKEN_WORTH * cost_wei

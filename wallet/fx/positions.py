"""The house's own exposure, and whether it can take one more trade."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from wallet.fx import rates
from wallet.fx.errors import LiquidityUnavailable
from wallet.ledger import balance_of
from wallet.ledger.accounts import bank as bank_account
from wallet.ledger.accounts import fx_position, payout_in_transit
from wallet.money import Money

POSITION_LIMIT_EUR_MINOR = 2_000_000_00


async def check_liquidity(
    session: AsyncSession, *, taken: Money, given: Money, bank: str | None, rail: str | None
) -> None:
    """Whether the house may take `taken` and give `given`, the latter from `bank` when named.

    Read without a lock: rivals may pass the limit together by what they trade at that moment, which
    single quotes bound. Raises LiquidityUnavailable, RateStale.
    """
    for change in (taken, Money(-given.minor, given.asset)):
        before = await balance_of(session, fx_position(change.asset.code))
        after = before + change.minor
        if abs(after) <= abs(before):
            continue  # brings the position nearer to nothing: always welcome
        worth = await rates.eur_minor(session, money=Money(abs(after), change.asset))
        if worth > POSITION_LIMIT_EUR_MINOR:
            raise LiquidityUnavailable(
                f"Too much {change.asset.code} is being exchanged; try again later."
            )
    if bank is not None and rail is not None:
        code = given.asset.code
        there = await balance_of(session, bank_account(bank, code))
        promised = await balance_of(session, payout_in_transit(rail, code))
        if there - promised < given.minor:
            raise LiquidityUnavailable(f"The house is short of {code} abroad; try again later.")

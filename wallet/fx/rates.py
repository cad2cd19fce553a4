"""Mid rates between listed assets, made from the newest stored EUR price of each.

Decimal only, in a local context. A mid rate has at most 14 digits, so that a rate made from it with
a spread of whole basis points is exact in 18 (decision 35).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal, localcontext

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import clock, faults
from wallet.fx.errors import RateStale
from wallet.money import Asset, Money

EUR = "EUR"
EUR_SCALE = 2
MAX_AGE_SECONDS = 300  # the feed re-stamps each minute; five missed in a row is stale
AHEAD_SECONDS = 60
"""A price of later than that was stamped by a clock that has been set back since: it is none."""
NOT_AHEAD = f"as_of <= bifold_now() + interval '{AHEAD_SECONDS} seconds'"
MID_DIGITS = 14
LEAST_MID = Decimal("1e-11")
"""Below it those digits may be off by more than half a percent: more than some spreads take."""
WORKING_PRECISION = 120  # 78-digit amounts times 18-digit rates, exactly


@dataclass(frozen=True, slots=True)
class Mid:
    """`mid` whole units of `target` for one whole unit of `source`; `as_of` is the older side's."""

    source: Asset
    target: Asset
    mid: Decimal
    as_of: datetime
    simulated: bool


@dataclass(frozen=True, slots=True)
class EurPrice:
    """One whole unit of `asset` in EUR."""

    asset: str
    eur_price: Decimal
    as_of: datetime
    simulated: bool


def shorten(value: Decimal, digits: int = MID_DIGITS) -> Decimal:
    """`value` rounded half-even to `digits` digits in all, the zero before the point included."""
    with localcontext(prec=WORKING_PRECISION):
        whole = max(value.adjusted() + 1, 1)
        return value.quantize(Decimal(1).scaleb(-max(digits - whole, 0)), rounding=ROUND_HALF_EVEN)


async def prices(session: AsyncSession) -> dict[str, EurPrice]:
    """The newest stored price of every asset, fresh or not. EUR itself is not stored."""
    rows = await session.execute(
        text(
            "SELECT DISTINCT ON (asset) asset, eur_price, as_of, simulated FROM fx_rates"
            f" WHERE {NOT_AHEAD} ORDER BY asset, as_of DESC"
        )
    )
    return {row.asset: EurPrice(row.asset, row.eur_price, row.as_of, row.simulated) for row in rows}


async def _fresh_price(session: AsyncSession, asset: Asset, now: datetime) -> EurPrice:
    if asset.code == EUR:
        return EurPrice(EUR, Decimal(1), now, False)
    row = (
        await session.execute(
            text(
                "SELECT eur_price, as_of, simulated FROM fx_rates WHERE asset = :asset"
                f" AND {NOT_AHEAD} ORDER BY as_of DESC LIMIT 1"
            ),
            {"asset": asset.code},
        )
    ).one_or_none()
    if row is None:
        raise RateStale(f"There is no rate for {asset.code}.")
    if row.as_of <= now - timedelta(seconds=MAX_AGE_SECONDS):
        raise RateStale(f"The rate of {asset.code} is too old to use.")
    return EurPrice(asset.code, row.eur_price, row.as_of, row.simulated)


async def mid(session: AsyncSession, *, source: Asset, target: Asset) -> Mid:
    """The mid rate now. Raises RateStale when either side's price is missing or old."""
    now = await clock.now(session)
    if source.code == target.code:
        return Mid(source, target, Decimal(1), now, False)
    if await faults.enabled(session, "rate_stale"):
        raise RateStale("The rates are too old to use.")
    first = await _fresh_price(session, source, now)
    second = await _fresh_price(session, target, now)
    with localcontext(prec=WORKING_PRECISION):
        value = shorten(first.eur_price / second.eur_price)
    if value < LEAST_MID:
        raise RateStale(f"The rate from {source.code} to {target.code} is too small to state.")
    return Mid(
        source, target, value, min(first.as_of, second.as_of), first.simulated or second.simulated
    )


def at_rate(minor: int, *, source_scale: int, target_scale: int, rate: Decimal) -> Decimal:
    """`minor` units of a source at `rate`, in minor units of the target, not yet rounded."""
    with localcontext(prec=WORKING_PRECISION):
        return (Decimal(minor) * rate).scaleb(target_scale - source_scale)


async def eur_minor(session: AsyncSession, *, money: Money) -> int:
    """What `money` is worth in euro cents at mid, rounded up. Raises RateStale."""
    if money.asset.code == EUR:
        return money.minor
    now = await clock.now(session)
    if await faults.enabled(session, "rate_stale"):
        raise RateStale("The rates are too old to use.")
    price = await _fresh_price(session, money.asset, now)
    value = at_rate(
        money.minor, source_scale=money.asset.scale, target_scale=EUR_SCALE, rate=price.eur_price
    )
    with localcontext(prec=WORKING_PRECISION):
        return int(value.to_integral_value(rounding=ROUND_CEILING))

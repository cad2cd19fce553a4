"""The rate feed: asks a source each minute, refuses what cannot be, stores the rest.

`SimulatedRates` is the sandbox's source: a dated table and a small seeded walk around it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from typing import Protocol

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import clock, faults
from wallet.db import Database
from wallet.fx import rates

TICK_SECONDS = 1
STAMP_SECONDS = 60
# All assets are stamped together; one of them tells.
DUE = (
    f"coalesce((SELECT max(as_of) FROM fx_rates WHERE asset = 'USD' AND {rates.NOT_AHEAD})"
    f" <= bifold_now() - interval '{STAMP_SECONDS} seconds', true)"
)
KEEP_DAYS = 7
PRICE_DIGITS = 18
DEVIATION_LIMIT = Decimal("0.25")  # a jump beyond a quarter within the hour is refused
DEVIATION_WINDOW_SECONDS = 3600
WALK_STEP_PER_MILLION = 200  # at most 0.02 % a minute
WALK_PULL = Decimal("0.02")  # and back towards the table by 2 % of the distance

# EUR for one whole unit, 20 November 2026, made up near the real level; tokens follow their coin.
TABLE_DATE = "2026-11-20"
TABLE: Mapping[str, Decimal] = {
    code: Decimal(price)
    for code, price in {
        "USD": "0.8621",
        "GBP": "1.1402",
        "CNY": "0.1214",
        "HKD": "0.1108",
        "JPY": "0.005547",
        "SGD": "0.6613",
        "AED": "0.23474",
        "MXN": "0.04672",
        "BRL": "0.1609",
        "INR": "0.009712",
        "NGN": "0.000598",
        "KES": "0.006655",
        "PHP": "0.01467",
        "KWD": "2.8093",
        "CHF": "1.0724",
        "ETH": "2500",
        "USDC": "0.8621",
        "USDT": "0.8619",
        "DAI": "0.8620",
        "EURC": "0.9998",
    }.items()
}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Price:
    """What a source says: one whole unit of `asset` in EUR."""

    asset: str
    eur_price: Decimal


class RateSource(Protocol):
    """Where prices come from. `previous` are the last stored ones, for sources that walk."""

    name: str
    simulated: bool

    async def fetch(self, *, previous: Mapping[str, Decimal], at: datetime) -> Iterable[Price]:
        """All prices this source has now."""
        ...


class SimulatedRates:
    """A seeded walk: the same seed, history and minute give the same price."""

    name = f"simulated table of {TABLE_DATE}"
    simulated = True

    def __init__(self, *, seed: str = "bifold") -> None:
        self._seed = seed

    async def fetch(self, *, previous: Mapping[str, Decimal], at: datetime) -> Iterable[Price]:
        """The table at first; afterwards each price one small step from its last."""
        minute = int(at.timestamp()) // STAMP_SECONDS
        return [
            Price(code, self._step(code, base, previous.get(code), minute))
            for code, base in TABLE.items()
        ]

    def _step(self, code: str, base: Decimal, last: Decimal | None, minute: int) -> Decimal:
        if last is None:
            return base
        # Dollar tokens walk with the dollar, so that their rates to it stay what they were.
        walks_as = "USD" if code in ("USDC", "USDT", "DAI") else code
        digest = hashlib.sha256(f"{self._seed}/{walks_as}/{minute}".encode()).digest()
        span = 2 * WALK_STEP_PER_MILLION + 1
        noise = int.from_bytes(digest[:8], "big") % span - WALK_STEP_PER_MILLION
        with localcontext(prec=rates.WORKING_PRECISION):
            moved = last + last * noise / 1_000_000 + (base - last) * WALK_PULL
            return rates.shorten(moved, PRICE_DIGITS)


class RateFeed:
    """Stores what the source says, once a minute of business time."""

    def __init__(self, db: Database, *, source: RateSource) -> None:
        self._db = db
        self._source = source

    async def tick(self) -> None:
        """Stamp new rates when the last are a minute old; silent while `rate_stale` is on."""
        async with self._db.transaction() as session:
            if await faults.enabled(session, "rate_stale"):
                return
            now = await clock.now(session)
            known = await rates.prices(session)
            newest = max((price.as_of for price in known.values()), default=None)
            if newest is not None and newest > now - timedelta(seconds=STAMP_SECONDS):
                return
        offered = await self._source.fetch(
            previous={code: price.eur_price for code, price in known.items()}, at=now
        )
        async with self._db.transaction() as session:
            for price in offered:
                if believable(price.eur_price, known.get(price.asset), now):
                    await self._store(session, price, now)
                else:
                    log.error("rate refused", asset=price.asset, price=str(price.eur_price))
            await session.execute(
                text(f"DELETE FROM fx_rates WHERE as_of < :oldest OR NOT {rates.NOT_AHEAD}"),
                {"oldest": now - timedelta(days=KEEP_DAYS)},
            )

    async def _store(self, session: AsyncSession, price: Price, now: datetime) -> None:
        await session.execute(
            text(
                "INSERT INTO fx_rates (asset, as_of, eur_price, source, simulated)"
                " VALUES (:asset, :at, :price, :source, :simulated) ON CONFLICT DO NOTHING"
            ),
            {
                "asset": price.asset,
                "at": now,
                "price": price.eur_price,
                "source": self._source.name,
                "simulated": self._source.simulated,
            },
        )


def believable(value: Decimal, last: rates.EurPrice | None, now: datetime) -> bool:
    """Positive, finite, and not a leap from a price that is still recent."""
    if not value.is_finite() or value <= 0:
        return False
    if last is None or last.as_of <= now - timedelta(seconds=DEVIATION_WINDOW_SECONDS):
        return True
    with localcontext(prec=rates.WORKING_PRECISION):
        return abs(value - last.eur_price) <= last.eur_price * DEVIATION_LIMIT

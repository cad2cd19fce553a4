"""Mid rates, their age, and a feed that believes no nonsense."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal

import pytest
from sqlalchemy import text

from wallet.fx import rates
from wallet.fx.errors import RateStale
from wallet.fx.feed import DUE, TABLE, Price, RateFeed, SimulatedRates
from wallet.money import Money
from wallet.testing.exchange import ExchangeBed


async def newest(bed: ExchangeBed) -> dict[str, Decimal]:
    async with bed.db.transaction() as session:
        return {code: price.eur_price for code, price in (await rates.prices(session)).items()}


class TestMid:
    async def test_divides_the_two_eur_prices(self, bed: ExchangeBed) -> None:
        async with bed.db.transaction() as session:
            mid = await rates.mid(
                session, source=bed.assets.get("ETH"), target=bed.assets.get("EUR")
            )
            assert mid.mid == 2500 and mid.simulated
            mid = await rates.mid(
                session, source=bed.assets.get("USDC"), target=bed.assets.get("USD")
            )
            assert mid.mid == 1

    async def test_refuses_a_rate_that_is_five_minutes_old(self, bed: ExchangeBed) -> None:
        await bed.advance(rates.MAX_AGE_SECONDS - 5)
        async with bed.db.transaction() as session:
            await rates.mid(session, source=bed.assets.get("USD"), target=bed.assets.get("EUR"))
        await bed.advance(5)
        async with bed.db.transaction() as session:
            with pytest.raises(RateStale):
                await rates.mid(session, source=bed.assets.get("USD"), target=bed.assets.get("EUR"))
            with pytest.raises(RateStale):
                await rates.eur_minor(session, money=bed.money("1.00", "USD"))

    async def test_refuses_an_asset_without_a_rate(self, bed: ExchangeBed) -> None:
        async with bed.db.transaction() as session:
            await session.execute(text("DELETE FROM fx_rates WHERE asset = 'KES'"))
            with pytest.raises(RateStale):
                await rates.mid(session, source=bed.assets.get("KES"), target=bed.assets.get("EUR"))

    async def test_refuses_a_rate_that_its_digits_cannot_tell(self, bed: ExchangeBed) -> None:
        """1.6e-13 is 2e-13 in 14 digits, a quarter too much: more than every spread takes."""
        for price, stated in (("0.0000000004", False), ("0.00000003", True)):
            await bed.table_rates(NGN=price)
            async with bed.db.transaction() as session:
                source, target = bed.assets.get("NGN"), bed.assets.get("ETH")
                if stated:
                    mid = (await rates.mid(session, source=source, target=target)).mid
                    assert mid == Decimal(price) / 2500
                    continue
                with pytest.raises(RateStale, match="too small"):
                    await rates.mid(session, source=source, target=target)

    async def test_is_stale_while_the_fault_is_on(self, bed: ExchangeBed) -> None:
        await bed.fault("rate_stale", on=True)
        async with bed.db.transaction() as session:
            with pytest.raises(RateStale):
                await rates.mid(session, source=bed.assets.get("USD"), target=bed.assets.get("EUR"))


class TestEurMinor:
    async def test_rounds_up_to_a_cent(self, bed: ExchangeBed) -> None:
        async with bed.db.transaction() as session:
            one_wei = Money(1, bed.assets.get("ETH"))
            assert await rates.eur_minor(session, money=one_wei) == 1
            assert await rates.eur_minor(session, money=bed.money("1.5", "ETH")) == 3750_00
            assert await rates.eur_minor(session, money=bed.money("12.34", "EUR")) == 1234


class Offering:
    """A source that says what it is told to."""

    name = "test"
    simulated = True

    def __init__(self, **prices: str) -> None:
        self._prices = prices

    async def fetch(self, *, previous: Mapping[str, Decimal], at: datetime) -> Iterable[Price]:
        return [Price(code, Decimal(price)) for code, price in self._prices.items()]


class TestRateFeed:
    async def test_stamps_once_a_minute_of_business_time(self, bed: ExchangeBed) -> None:
        before = await bed.count("fx_rates")
        await bed.fresh_rates()
        assert await bed.count("fx_rates") == before
        await bed.advance(61)
        await bed.fresh_rates()
        await bed.fresh_rates()
        assert await bed.count("fx_rates") == before + len(TABLE)

    async def test_starts_at_the_table_and_walks_in_small_steps(self, bed: ExchangeBed) -> None:
        last = await newest(bed)
        assert last["ETH"] == 2500
        moved = set()
        for _ in range(10):
            await bed.advance(60)
            await bed.fresh_rates()
            now = await newest(bed)
            for code, price in now.items():
                assert abs(price / last[code] - 1) < Decimal("0.001")
                if price != last[code]:
                    moved.add(code)
            assert now["USDC"] == now["USD"]
            last = now
        assert moved == set(TABLE)

    async def test_a_seed_and_a_minute_make_one_price(self) -> None:
        at = datetime.fromisoformat("2026-11-22T10:00:00+00:00")
        first = await SimulatedRates().fetch(previous=dict(TABLE), at=at)
        again = await SimulatedRates().fetch(previous=dict(TABLE), at=at)
        other = await SimulatedRates(seed="another").fetch(previous=dict(TABLE), at=at)
        assert list(first) == list(again) != list(other)

    @pytest.mark.parametrize("nonsense", ["0", "-1", "NaN", "Infinity", "25001", "250"])
    async def test_refuses_nonsense_and_keeps_the_rest(
        self, bed: ExchangeBed, nonsense: str
    ) -> None:
        await bed.advance(61)
        await RateFeed(bed.db, source=Offering(ETH=nonsense, USD="0.8700")).tick()
        now = await newest(bed)
        assert (now["ETH"], now["USD"]) == (Decimal(2500), Decimal("0.8700"))

    async def test_accepts_a_leap_after_a_long_silence(self, bed: ExchangeBed) -> None:
        await bed.advance(3601)
        await RateFeed(bed.db, source=Offering(ETH="25000")).tick()
        assert (await newest(bed))["ETH"] == 25000

    async def test_a_clock_that_was_set_back_leaves_no_price_standing(
        self, bed: ExchangeBed
    ) -> None:
        """What had been stamped before was the newest price, and fresh, until that hour came
        again: nothing else was stamped meanwhile."""
        async with bed.db.transaction() as session:
            await session.execute(
                text(
                    "INSERT INTO fx_rates (asset, as_of, eur_price, source, simulated)"
                    " SELECT asset, as_of + interval '1 hour', eur_price * 2, source, true"
                    " FROM fx_rates"
                )
            )
        assert (await newest(bed))["ETH"] == 2500
        await bed.advance(61)
        async with bed.db.transaction() as session:
            assert await session.scalar(text("SELECT " + DUE))
        await RateFeed(bed.db, source=Offering(ETH="2400")).tick()
        assert (await newest(bed))["ETH"] == 2400
        for _ in range(3600 // 250):
            await bed.advance(250)
            async with bed.db.transaction() as session:
                mid = await rates.mid(
                    session, source=bed.assets.get("ETH"), target=bed.assets.get("EUR")
                )
            assert mid.mid == 2400
            await RateFeed(bed.db, source=Offering(ETH="2400")).tick()

    async def test_is_silent_while_the_fault_is_on(self, bed: ExchangeBed) -> None:
        await bed.advance(61)
        await bed.fault("rate_stale", on=True)
        before = await bed.count("fx_rates")
        await bed.fresh_rates()
        assert await bed.count("fx_rates") == before

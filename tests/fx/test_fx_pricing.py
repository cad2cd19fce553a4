"""Prices are exact, the customer never gains, and the loss is the stated one."""

from __future__ import annotations

import random
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cache

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wallet.fx import pricing, rates
from wallet.fx.feed import TABLE
from wallet.fx.quotes import rate_text
from wallet.money import Asset
from wallet.testing.exchange import sandbox_assets

ASSETS = [asset for asset in sandbox_assets() if asset.code == "EUR" or asset.code in TABLE]
EUR_PRICE = {**TABLE, "EUR": Decimal(1)}
ROUND_TRIPS = 100_000


@cache
def mid_of(source: Asset, target: Asset) -> Decimal:
    with localcontext(prec=60):
        return rates.shorten(EUR_PRICE[source.code] / EUR_PRICE[target.code])


def exact(minor: int, source: Asset, target: Asset, rate: Decimal) -> Fraction:
    return minor * Fraction(rate) * Fraction(10) ** (target.scale - source.scale)


pairs = st.tuples(st.sampled_from(ASSETS), st.sampled_from(ASSETS)).filter(
    lambda pair: pair[0].code != pair[1].code
)
amounts = st.integers(min_value=1, max_value=10**26)


class TestCustomerRate:
    @given(pairs)
    def test_is_mid_less_the_spread_exactly_in_18_digits(self, pair: tuple[Asset, Asset]) -> None:
        mid, spread = mid_of(*pair), pricing.spread_of(*pair)
        rate = pricing.customer_rate(mid, spread)
        assert Fraction(rate) == Fraction(mid) * (1 - Fraction(spread))
        assert sum(c.isdigit() for c in rate_text(rate)) <= 18
        assert Decimal(rate_text(rate)) == rate

    @given(st.decimals(min_value="0.000001", max_value="99999999", allow_nan=False, places=17))
    def test_holds_for_any_mid(self, value: Decimal) -> None:
        mid = rates.shorten(value)
        assume(mid > 0)
        rate = pricing.customer_rate(mid, Decimal("0.0123"))
        assert sum(c.isdigit() for c in rate_text(rate)) <= 18
        assert Fraction(rate) == Fraction(mid) * Fraction("0.9877")


class TestFromSource:
    @given(pairs, amounts, st.integers(min_value=0, max_value=10**6))
    def test_floors_the_target_and_loses_no_unit(
        self, pair: tuple[Asset, Asset], minor: int, fee: int
    ) -> None:
        source, target = pair
        mid, spread = mid_of(*pair), pricing.spread_of(*pair)
        price = pricing.from_source(
            minor, source=source, target=target, mid=mid, spread=spread, fee_minor=fee
        )
        ideal = exact(max(minor - fee, 0), source, target, price.rate)
        assert 0 <= ideal - price.target_minor < 1
        if minor >= fee:
            whole = price.fee_minor + price.spread_minor + price.position_minor
            assert price.source_minor == minor == whole
            assert price.spread_minor >= 0 and price.position_minor >= 0
            # What the position takes is never worth more at mid than what it gives, by one unit.
            at_mid = Fraction(price.target_minor) / exact(1, source, target, mid)
            assert 0 <= at_mid - price.position_minor < 1


class TestFromTarget:
    @given(pairs, amounts, st.integers(min_value=0, max_value=10**6))
    def test_is_the_least_source_that_brings_the_target(
        self, pair: tuple[Asset, Asset], minor: int, fee: int
    ) -> None:
        source, target = pair
        mid, spread = mid_of(*pair), pricing.spread_of(*pair)
        price = pricing.from_target(
            minor, source=source, target=target, mid=mid, spread=spread, fee_minor=fee
        )
        net = price.source_minor - fee
        assert price.target_minor == minor
        assert exact(net, source, target, price.rate) >= minor
        assert exact(net - 1, source, target, price.rate) < minor
        assert price.spread_minor >= 0 and price.position_minor >= 0

    @given(pairs, amounts)
    def test_agrees_with_the_other_direction(self, pair: tuple[Asset, Asset], minor: int) -> None:
        source, target = pair
        mid, spread = mid_of(*pair), pricing.spread_of(*pair)
        back = pricing.from_target(
            minor, source=source, target=target, mid=mid, spread=spread, fee_minor=7
        )
        there = pricing.from_source(
            back.source_minor, source=source, target=target, mid=mid, spread=spread, fee_minor=7
        )
        assert there.target_minor >= minor
        # More only by what the last source unit itself is worth.
        assert there.target_minor - minor <= exact(1, source, target, back.rate)


@cache
def share_lost(spread: Decimal) -> Fraction:
    """The margin twice, and the mids' own last digits."""
    return 1 - (1 - Fraction(spread)) ** 2 + Fraction(1, 10**5)


@cache
def one_unit(source: Asset, target: Asset) -> Fraction:
    """What flooring the first leg may cost, in minor units of `target`."""
    return exact(1, source, target, mid_of(source, target))


class TestRoundTrips:
    @pytest.mark.slow
    def test_nobody_gains_in_a_hundred_thousand(self) -> None:
        dice = random.Random(20261122)
        losses = 0
        for _ in range(ROUND_TRIPS):
            first, second = dice.sample(ASSETS, 2)
            minor = dice.randrange(1, 10 ** dice.randrange(1, first.scale + 9))
            spread = pricing.spread_of(first, second)
            there_mid, back_mid = mid_of(first, second), mid_of(second, first)
            there = pricing.from_source(
                minor, source=first, target=second, mid=there_mid, spread=spread, fee_minor=0
            )
            back = pricing.from_source(
                there.target_minor,
                source=second,
                target=first,
                mid=back_mid,
                spread=spread,
                fee_minor=0,
            )
            loss = minor - back.target_minor
            assert loss >= 0, (first.code, second.code, minor)
            allowed = minor * share_lost(spread) + one_unit(second, first) + 1
            assert loss <= allowed, (first.code, second.code, minor)
            losses += loss > 0
        assert losses > ROUND_TRIPS * 9 // 10

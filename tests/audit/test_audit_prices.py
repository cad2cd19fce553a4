"""The auditor's arithmetic of prices: what the application makes agrees, what is off does not."""

from __future__ import annotations

import random
from decimal import Decimal
from fractions import Fraction
from functools import partial

from chain.fee_models import DataFee
from wallet.auditor import prices
from wallet.auditor.instance import Instance, Network
from wallet.fx import rates
from wallet.money import Asset, Money
from wallet.withdrawals import fees
from wallet.withdrawals.errors import MaxFeeTooLow

CASES = 3_000
GWEI = 10**9
MOST = 10**60
ETH = Asset("ETH", "native", 18, "Ether", MOST)
ASSETS = (
    Asset("WBTC", "token", 8, "Bitcoin", MOST),
    Asset("USDC", "token", 6, "Dollar", MOST),
    Asset("DAI", "token", 18, "Dollar", MOST),
    ETH,
)


def _network(*, data_fee: bool) -> Network:
    return Network("local", 1, (), "ETH", {}, {}, False, data_fee)


def _terms(dice: random.Random, asset: Asset, data_fee: DataFee) -> fees.FeeTerms | None:
    """As the application makes them, of anything that may come."""
    mid = rates.shorten(Decimal(dice.randint(1, 10**9)) / Decimal(dice.randint(1, 10**7)))
    if asset is ETH:
        mid = Decimal(1)
    base, tip = dice.randint(0, 200 * GWEI), dice.randint(0, 3 * GWEI)
    cap = 2 * base + tip + 1
    make = partial(
        fees.terms,
        estimate=dice.choice([21_000, dice.randint(21_000, 400_000)]),
        base_fee_wei=base,
        tip_wei=tip,
        cap_wei=cap,
        network_ceiling_wei=dice.choice([500 * GWEI, base + tip + 1]),
        rate=fees.gas_rate(mid=mid, native=ETH, asset=asset),
        asset=asset,
        model="op" if data_fee.bound else "l1",
        data_fee=data_fee,
    )
    try:
        made = make(max_fee=None)
        percent = dice.choice([None, dice.randint(30, 110)])
        if percent is None:
            return made
        return make(max_fee=Money(made.bound.minor * percent // 100, asset))
    except MaxFeeTooLow:
        return None


def _holds(terms: fees.FeeTerms, network: Network | None, factor: str = "1") -> bool:
    return prices._bounds(
        Fraction(terms.gas_rate * Decimal(factor)), terms.bound.minor, terms.gas_limit,
        terms.fee_ceiling_wei, network,
    )  # fmt: skip


def test_every_bound_that_is_made_holds() -> None:
    dice, seen = random.Random(7), 0
    for _ in range(CASES):
        extra = dice.choice([0, dice.randint(1, 10**15)])
        made = _terms(dice, dice.choice(ASSETS), DataFee(extra // 2, extra))
        if made is None:
            continue
        seen += 1
        assert _holds(made, _network(data_fee=bool(extra))), made
        assert _holds(made, None), made
    assert seen > CASES / 4


def test_a_rate_that_is_off_does_not() -> None:
    made = fees.terms(
        estimate=65_000, base_fee_wei=GWEI, tip_wei=GWEI, cap_wei=3 * GWEI,
        network_ceiling_wei=500 * GWEI, rate=fees.gas_rate(mid=Decimal(2900), native=ETH,
        asset=ASSETS[1]), asset=ASSETS[1], max_fee=None,
    )  # fmt: skip
    assert not _holds(made, _network(data_fee=False), "1.06")
    assert not _holds(made, _network(data_fee=True), "1.06")
    assert not _holds(made, _network(data_fee=False), "0.99")


def test_a_mid_rate_is_known_again() -> None:
    dice = random.Random(8)
    for _ in range(CASES):
        one = rates.shorten(Decimal(dice.randint(1, 10**12)) / 10 ** dice.randint(0, 9), 18)
        two = rates.shorten(Decimal(dice.randint(1, 10**12)) / 10 ** dice.randint(0, 9), 18)
        mid = rates.shorten(one / two)
        assert prices._made_of(Fraction(mid), [one], [two]), (one, two, mid)
        off = mid * (1 + Decimal("1e-9")) + Decimal("1e-12")
        assert not prices._made_of(Fraction(off), [one], [two]), (one, two, mid)


def test_a_worth_is_known_again() -> None:
    minor, price = 1_234_567, Decimal("0.862117")
    worth = rates.at_rate(minor, source_scale=6, target_scale=2, rate=price)
    cents = -(-worth // 1) if worth == worth // 1 else worth // 1 + 1
    local = Network("local", 1, (), "ETH", {"USDC": ("0x", 6)}, {}, False, False)
    told = Instance({"local": local})
    for eur, named in ((cents, 0), (cents + 1, 1)):
        found = list(
            prices._worth(told, "usage_worth_off", "x", None, "USDC", Decimal(minor), eur, [price])
        )
        assert len(found) == named

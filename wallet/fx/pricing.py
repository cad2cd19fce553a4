"""What a quote costs, in whole minor units. Exact: rates are fractions here, never rounded.

rate = mid x (1 - spread). A target made from a source is floored, a source made from a target
ceiled: every remainder stays with the house and is counted as spread.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Literal

from wallet.money import Asset

FIAT_SPREAD = Decimal("0.0040")
STABLE_SPREAD = Decimal("0.0050")
COIN_SPREAD = Decimal("0.0080")
STABLE_TOKENS = frozenset({"USDC", "USDT", "DAI", "EURC"})

Side = Literal["source", "target"]
ROUNDING: dict[Side, str] = {"source": "target_floored", "target": "source_ceiled"}


@dataclass(frozen=True, slots=True)
class Price:
    """One priced exchange.

    source_minor = fee_minor + spread_minor + position_minor: the whole debit. `position_minor` is
    what the target is worth at mid, floored; `spread_minor` the margin, remainders included.
    """

    source_minor: int
    target_minor: int
    fee_minor: int
    spread_minor: int
    rate: Decimal

    @property
    def position_minor(self) -> int:
        """What the house's position takes of the source."""
        return self.source_minor - self.fee_minor - self.spread_minor


def spread_of(source: Asset, target: Asset) -> Decimal:
    """The margin of a pair, in whole basis points."""
    if source.kind == target.kind == "fiat":
        return FIAT_SPREAD
    if all(a.kind == "fiat" or a.code in STABLE_TOKENS for a in (source, target)):
        return STABLE_SPREAD
    return COIN_SPREAD


def customer_rate(mid: Decimal, spread: Decimal) -> Decimal:
    """mid x (1 - spread), exactly: 14 digits and 4 make 18."""
    with localcontext(prec=60):
        return mid * (1 - spread)


def _per_minor(rate: Decimal, source: Asset, target: Asset) -> Fraction:
    """Target minor units for one source minor unit."""
    return Fraction(rate) * Fraction(10) ** (target.scale - source.scale)


def _floor(value: Fraction) -> int:
    return value.numerator // value.denominator


def _ceil(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)


def from_source(
    source_minor: int,
    *,
    source: Asset,
    target: Asset,
    mid: Decimal,
    spread: Decimal,
    fee_minor: int,
) -> Price:
    """`source_minor` is the whole debit. The target may come out as 0: the caller refuses."""
    rate = customer_rate(mid, spread)
    net = max(source_minor - fee_minor, 0)
    target_minor = _floor(net * _per_minor(rate, source, target))
    at_mid = _floor(target_minor / _per_minor(mid, source, target))
    return Price(source_minor, target_minor, fee_minor, net - at_mid, rate)


def from_target(
    target_minor: int,
    *,
    source: Asset,
    target: Asset,
    mid: Decimal,
    spread: Decimal,
    fee_minor: int,
) -> Price:
    """`target_minor` arrives, to the minor unit; the source is the least whole debit for it."""
    rate = customer_rate(mid, spread)
    net = _ceil(target_minor / _per_minor(rate, source, target))
    at_mid = _floor(target_minor / _per_minor(mid, source, target))
    return Price(net + fee_minor, target_minor, fee_minor, net - at_mid, rate)


def least_source(
    *, source: Asset, target: Asset, mid: Decimal, spread: Decimal, fee_minor: int
) -> int:
    """The smallest whole debit that brings one minor unit of the target."""
    return from_target(
        1, source=source, target=target, mid=mid, spread=spread, fee_minor=fee_minor
    ).source_minor

"""The fee is in the withdrawn asset, rounded for the house, and never above the bound."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.fee_models import DataFee
from wallet.money import Money, chain_asset
from wallet.withdrawals import MaxFeeTooLow, fees
from wallet.withdrawals.fees import FeeTerms

GWEI = 10**9
ETH = chain_asset("ETH", "native", 18, "Ether")
USDC = chain_asset("USDC", "token", 6, "USD Coin")
MID = Decimal("2899.8956")


def _terms(*, rate: Decimal, max_fee: Money | None = None, estimate: int = 51_436) -> FeeTerms:
    return fees.terms(
        estimate=estimate,
        base_fee_wei=10 * GWEI,
        tip_wei=GWEI,
        cap_wei=21 * GWEI,
        network_ceiling_wei=500 * GWEI,
        rate=rate,
        asset=USDC,
        max_fee=max_fee,
    )


class TestRate:
    def test_the_native_coin_is_one_to_one(self) -> None:
        assert fees.gas_rate(mid=Decimal(1), native=ETH, asset=ETH) == 1

    def test_a_token_of_six_decimals(self) -> None:
        rate = fees.gas_rate(mid=MID, native=ETH, asset=USDC)
        assert fees.fee_minor(10**18, rate) == 2_899_895_600
        assert fees.fee_minor(1, rate) == 1  # a fraction is charged as a whole minor unit
        assert fees.fee_minor(0, rate) == 0


class TestTerms:
    def test_bound_is_limit_times_ceiling_times_one_point_zero_five(self) -> None:
        terms = _terms(rate=fees.gas_rate(mid=MID, native=ETH, asset=USDC))
        assert terms.gas_limit == 64_295
        assert terms.fee_ceiling_wei == 42 * GWEI
        wei = 64_295 * 42 * GWEI * 105 // 100
        assert terms.bound.minor == -(-wei * 28_998_956 // 10**16)
        assert terms.expected.minor < terms.bound.minor

    def test_a_plain_transfer_has_no_margin(self) -> None:
        assert _terms(rate=Decimal(1), estimate=21_000).gas_limit == 21_000

    def test_max_fee_caps_bound_and_ceiling(self) -> None:
        rate = fees.gas_rate(mid=MID, native=ETH, asset=USDC)
        cap = Money(4_000_000, USDC)
        terms = _terms(rate=rate, max_fee=cap)
        assert terms.bound == cap
        assert 11 * GWEI <= terms.fee_ceiling_wei < 42 * GWEI
        assert fees.fee_minor(terms.gas_limit * terms.fee_ceiling_wei, rate) <= cap.minor

    def test_a_max_fee_that_pays_for_no_block_is_refused(self) -> None:
        with pytest.raises(MaxFeeTooLow) as refused:
            _terms(rate=fees.gas_rate(mid=MID, native=ETH, asset=USDC), max_fee=Money(1_000, USDC))
        least = refused.value.extra["min"]
        assert least["asset"] == "USDC"
        assert _terms(
            rate=fees.gas_rate(mid=MID, native=ETH, asset=USDC),
            max_fee=Money(int(least["amount"].replace(".", "")), USDC),
        )


@given(
    mid=st.decimals(min_value="0.000001", max_value="1000000", places=6),
    estimate=st.integers(21_000, 10_000_000),
    base=st.integers(0, 200 * GWEI),
    tip=st.integers(0, 20 * GWEI),
    used=st.integers(0, 100),
    price=st.integers(0, 100),
)
def test_what_is_due_never_exceeds_the_bound(
    mid: Decimal, estimate: int, base: int, tip: int, used: int, price: int
) -> None:
    """Whatever part of limit and ceiling is burnt, the bound covers it without being cut."""
    rate = fees.gas_rate(mid=mid, native=ETH, asset=USDC)
    cap = max(2 * base + tip, 1)
    try:
        terms = fees.terms(
            estimate=estimate,
            base_fee_wei=base,
            tip_wei=tip,
            cap_wei=cap,
            network_ceiling_wei=500 * GWEI,
            rate=rate,
            asset=USDC,
            max_fee=None,
        )
    except MaxFeeTooLow:
        return
    gas = (terms.gas_limit * used // 100) * (terms.fee_ceiling_wei * price // 100)
    due = fees.fee_due(gas, rate, bound_minor=terms.bound.minor)
    assert due == fees.fee_minor(gas, rate) <= terms.bound.minor
    assert Decimal(due) >= Decimal(gas) * rate


class TestDataFee:
    """An OP chain's fee beside the gas is estimated, held and within `max_fee`."""

    @staticmethod
    def _on_op(**changes: Any) -> FeeTerms:
        asked: dict[str, Any] = {
            "estimate": 21_000, "base_fee_wei": 10, "tip_wei": 1, "cap_wei": 21,
            "network_ceiling_wei": 500, "rate": Decimal(1), "asset": ETH, "max_fee": None,
            "model": "op", "data_fee": DataFee(1_000_000, 3_000_000),
        }  # fmt: skip
        return fees.terms(**(asked | changes))

    def test_both_figures_hold_it(self) -> None:
        terms, plain = self._on_op(), self._on_op(data_fee=DataFee())
        assert terms.expected.minor - plain.expected.minor == 1_000_000
        assert terms.bound.minor - plain.bound.minor == 3_000_000

    def test_max_fee_leaves_gas_what_the_data_fee_leaves(self) -> None:
        terms = self._on_op(max_fee=Money(3_000_000 + 21_000 * 15, ETH))
        assert terms.fee_ceiling_wei == 15
        with pytest.raises(MaxFeeTooLow) as low:
            self._on_op(max_fee=Money(3_000_000, ETH))
        assert low.value.extra["min"] == Money(21_000 * 14 + 3_000_000, ETH).json()

"""What a withdrawal costs, in the withdrawn asset (decision 27). Pure.

The house pays gas in the native coin; the customer is charged the gas burnt at the rate fixed at
creation, rounded up, and never more than the bound that was held.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext

from chain import fee_models
from chain.fee_models import DataFee
from chain.fees import least_cap
from chain.registry import FeeModel
from wallet.money import Asset, Money
from wallet.withdrawals.errors import MaxFeeTooLow

PRECISION = 200  # 78-digit amounts times 33-digit rates, exactly
PLAIN_GAS = fee_models.PLAIN_GAS
CEILING_FACTOR = 2  # room for bumps over today's fee cap
BOUND_PERCENT = 105


@dataclass(frozen=True, slots=True)
class FeeTerms:
    """Fixed at creation. `gas_rate`: minor units of the asset for one wei."""

    gas_limit: int
    fee_ceiling_wei: int
    gas_rate: Decimal
    expected: Money
    bound: Money


def gas_rate(*, mid: Decimal, native: Asset, asset: Asset) -> Decimal:
    """Minor units of `asset` for one wei of `native`; `mid` is whole units for one whole unit."""
    if native.code == asset.code:
        return Decimal(1)
    with localcontext(prec=PRECISION):
        return mid.scaleb(asset.scale - native.scale)


def fee_minor(gas_wei: int, rate: Decimal) -> int:
    """`gas_wei` in minor units of the asset, rounded up: the house never pays a fraction."""
    with localcontext(prec=PRECISION):
        return int((Decimal(gas_wei) * rate).to_integral_value(rounding=ROUND_CEILING))


def fee_due(gas_wei: int, rate: Decimal, *, bound_minor: int) -> int:
    """What is charged for gas burnt: the gas at the fixed rate, within the bound."""
    return min(fee_minor(gas_wei, rate), bound_minor)


gas_limit_for = fee_models.gas_limit


def terms(
    *,
    estimate: int,
    base_fee_wei: int,
    tip_wei: int,
    cap_wei: int,
    network_ceiling_wei: int,
    rate: Decimal,
    asset: Asset,
    max_fee: Money | None,
    model: FeeModel = "l1",
    data_fee: DataFee = fee_models.NONE,
) -> FeeTerms:
    """Bound and ceiling of one withdrawal. Raises MaxFeeTooLow.

    bound = (gas limit × fee ceiling × 1.05 + the data fee's bound) at the rate, at most `max_fee`;
    then the ceiling is what that bound affords beside the data fee.
    """
    gas_limit = gas_limit_for(estimate, model)
    ceiling = min(network_ceiling_wei, CEILING_FACTOR * cap_wei)
    bound_wei = -(-gas_limit * ceiling * BOUND_PERCENT // 100) + data_fee.bound
    bound = fee_minor(bound_wei, rate)
    needed_wei = base_fee_wei + tip_wei
    expected = fee_minor(estimate * needed_wei + data_fee.expected, rate)
    if max_fee is not None and max_fee.minor < bound:
        bound = max_fee.minor
        with localcontext(prec=PRECISION):
            for_gas = Decimal(bound) / rate - data_fee.bound
            affordable = (for_gas / gas_limit).to_integral_value(ROUND_FLOOR)
        ceiling = min(ceiling, int(affordable))
    least_price = max(least_cap(base_fee_wei, tip_wei), 1)
    if ceiling < least_price:
        least_wei = gas_limit * least_price + data_fee.bound
        least = Money(fee_minor(least_wei, rate), asset)
        raise MaxFeeTooLow(
            f"At least {least} is needed now.", field="/max_fee", extra={"min": least.json()}
        )
    return FeeTerms(
        gas_limit, ceiling, rate, Money(min(expected, bound), asset), Money(bound, asset)
    )

"""The postings of an exchange, shared by conversions and payments.

The source side: customer or transit gives, the position takes what the target is worth at mid, the
margin goes to its own account, the fee to its own. The target side: the position gives.
"""

from __future__ import annotations

from wallet.fx.quotes import Quote
from wallet.ledger import AccountSpec, Line
from wallet.ledger.accounts import fee_income, fx_position, spread_income
from wallet.money import Money


def exchange_lines(quote: Quote, *, giver: AccountSpec, taker: AccountSpec) -> list[Line]:
    """`giver` pays the whole source, `taker` gets the whole target."""
    source, target = quote.source, quote.target
    return [
        Line(giver, Money(-source.minor, source.asset)),
        Line(fx_position(source.asset.code), Money(quote.position_minor, source.asset)),
        Line(spread_income(source.asset.code), quote.spread_money),
        *(Line(fee_income(fee.kind, source.asset.code), fee.money) for fee in quote.fees),
        Line(fx_position(target.asset.code), Money(-target.minor, target.asset)),
        Line(taker, target),
    ]


def undo_lines(
    quote: Quote, *, giver: AccountSpec, taker: AccountSpec, keep_fees: bool
) -> list[Line]:
    """The exchange backwards at the same rate: `giver` gives the target, `taker` gets the source.

    With `keep_fees` the fees stay earned and `taker` gets that much less.
    """
    source = quote.source
    kept = quote.fee_minor if keep_fees else 0
    lines = [
        Line(giver, Money(-quote.target.minor, quote.target.asset)),
        Line(fx_position(quote.target.asset.code), quote.target),
        Line(fx_position(source.asset.code), Money(-quote.position_minor, source.asset)),
        Line(spread_income(source.asset.code), Money(-quote.spread_money.minor, source.asset)),
        Line(taker, Money(source.minor - kept, source.asset)),
    ]
    if not keep_fees:
        lines += [
            Line(fee_income(fee.kind, source.asset.code), Money(-fee.money.minor, source.asset))
            for fee in quote.fees
        ]
    return lines

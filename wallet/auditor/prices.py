"""Prices in exact fractions: what a quote gives, what gas costs, what counts for somebody's day.

Stored prices are kept for a week. What was priced since then must follow from one of those that
were fresh at its time; older rows are held against each other alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from wallet.auditor.check import Finding
from wallet.auditor.instance import NATIVE_DIGITS, Instance, Network
from wallet.auditor.rows import Connection, finding, stream

MEANS = {
    "quote_rate_off": "a quote's rate is its mid rate less its spread",
    "quote_price_off": "a quote's amounts follow from its rate, rounded for the house",
    "quote_mid_off": "a quote's mid rate was made of prices that were stored then",
    "quote_eur_off": "a quote counts for what its source was worth in euro",
    "usage_worth_off": "a withdrawal counts for its owner's day with what it was worth in euro",
    "withdrawal_gas_rate_off": "the fee bound is what the most gas costs at the fixed rate",
    "withdrawal_gas_price_off": "the fixed rate of gas was made of prices that were stored then",
}
EUR = "EUR"
EUR_DIGITS = 2
MID_DIGITS = 14
"""A mid rate is rounded to so many digits, the zero before the point included."""
BOUND_PERCENT = 105
"""A fee bound is the gas at its ceiling, and no more than this of it."""
# Fresh is five minutes, or stamped by a clock a minute ahead; whoever asked may have waited.
_EARLIEST, _LATEST = "interval '8 minutes'", "interval '90 seconds'"
_KEPT = f"(SELECT min(as_of) + {_EARLIEST} FROM fx_rates)"


def findings(connection: Connection, instance: Instance) -> Iterator[Finding]:
    """All of them, in the snapshot that `connection` has open."""
    yield from _quotes(connection, instance)
    yield from _quotes_then(connection, instance)
    yield from _withdrawals(connection, instance)


def _finding(
    code: str, subject: object, network: str | None, asset: str, want: object, got: object,
    *, pauses: bool = True,
) -> Finding:  # fmt: skip
    return finding(MEANS, code, subject, network, asset, want, got, pauses=pauses)


def _stored(asset: str, at: str) -> str:
    """The prices of an asset that somebody may have used at that time."""
    return (
        f"CASE WHEN {asset} = '{EUR}' THEN ARRAY[1::numeric] WHEN {at} > {_KEPT} THEN"
        f" ARRAY(SELECT f.eur_price FROM fx_rates f WHERE f.asset = {asset}"
        f" AND f.as_of BETWEEN {at} - {_EARLIEST} AND {at} + {_LATEST}) END"
    )


def _quotes(connection: Connection, instance: Instance) -> Iterator[Finding]:
    """Each by itself: its amounts follow from its rates."""
    rows = stream(
        connection,
        "SELECT id, fixed_side, source_asset, source_minor, target_asset, target_minor, fee_minor,"
        " spread_minor, mid_rate, spread, rate, eur_minor FROM quotes",
    )
    for row in rows:
        quote, side, source, source_minor, target, target_minor, fee, spread_minor = row[:8]
        mid, spread, rate = (Fraction(value) for value in row[8:11])
        if rate != mid * (1 - spread):
            yield _finding("quote_rate_off", quote, None, source, mid * (1 - spread), rate)
        if source == EUR and row[11] != source_minor:
            yield _finding(
                "quote_eur_off", quote, None, source, source_minor, row[11], pauses=False
            )
        digits = instance.digits(source), instance.digits(target)
        if digits[0] is None or digits[1] is None:
            continue  # the networks file does not know the asset: the report says so
        shift = Fraction(10) ** (digits[1] - digits[0])
        net = int(source_minor) - int(fee)
        if side == "source":
            want = int(net * rate * shift // 1)
            right = want == target_minor
        else:
            want = int(-(-Fraction(int(target_minor)) / (rate * shift) // 1))
            right = want == net
        at_mid = int(Fraction(int(target_minor)) / (mid * shift) // 1)
        if not right or net - at_mid != spread_minor:
            yield _finding(
                "quote_price_off", quote, None, source,
                f"{want} and spread {net - at_mid}",
                f"{target_minor if side == 'source' else net} and spread {spread_minor}",
            )  # fmt: skip


def _quotes_then(connection: Connection, instance: Instance) -> Iterator[Finding]:
    """Those of the last week against the prices of their time."""
    rows = stream(
        connection,
        "SELECT q.id, q.source_asset, q.source_minor, q.mid_rate, q.eur_minor,"
        f" {_stored('q.source_asset', 'q.created_at')},"
        f" {_stored('q.target_asset', 'q.created_at')}"
        f" FROM quotes q WHERE q.created_at > {_KEPT}",
    )
    for quote, source, minor, mid, eur_minor, gave, got in rows:
        if gave and got and not _made_of(Fraction(mid), gave, got):
            told = f"of {_span(gave)} and {_span(got)} EUR"
            yield _finding("quote_mid_off", quote, None, source, told, mid, pauses=False)
        yield from _worth(instance, "quote_eur_off", quote, None, source, minor, eur_minor, gave)


def _withdrawals(connection: Connection, instance: Instance) -> Iterator[Finding]:
    coins = {name: network.native for name, network in instance.networks.items()}
    rows = stream(
        connection,
        "SELECT w.id, w.network, w.asset, w.amount_minor, w.gas_rate, w.fee_bound_minor,"
        " i.gas_limit, i.fee_ceiling_wei, u.eur_minor,"
        f" {_stored('w.asset', 'w.created_at')}, {_stored('n.coin', 'w.created_at')}"
        " FROM withdrawals w JOIN chain_intents i ON i.id = w.intent_id"
        " LEFT JOIN outgoing_usage u ON u.ref = w.id"
        " LEFT JOIN unnest(%s::text[], %s::text[]) n(network, coin) ON n.network = w.network",
        (list(coins), list(coins.values())),
    )
    for id_, name, asset, minor, rate, bound, limit, ceiling, eur_minor, paid, burnt in rows:
        network = instance.networks.get(name)
        gas, fixed = int(limit), Fraction(rate)
        if not _bounds(fixed, int(bound), gas, int(ceiling), network):
            yield _finding(
                "withdrawal_gas_rate_off", id_, name, asset,
                f"{bound} for {gas} gas at {ceiling} wei", rate,
            )  # fmt: skip
        if network is not None and asset == network.native and fixed != 1:
            yield _finding("withdrawal_gas_rate_off", id_, name, asset, 1, rate)
        digits = instance.digits(asset)
        if network is not None and asset != network.native and digits is not None:
            mid = fixed * Fraction(10) ** (NATIVE_DIGITS - digits)
            if paid and burnt and not _made_of(mid, burnt, paid):
                told = f"of {_span(burnt)} and {_span(paid)} EUR"
                yield _finding(
                    "withdrawal_gas_price_off", id_, name, asset, told, rate, pauses=False
                )
        if eur_minor is not None:
            yield from _worth(instance, "usage_worth_off", id_, name, asset, minor, eur_minor, paid)


def _bounds(rate: Fraction, bound: int, gas: int, ceiling: int, network: Network | None) -> bool:
    """Whether the bound holds the gas at its ceiling, and not more than was told of room.

    An owner who allowed less than that has a lower ceiling, to the wei of one unit of gas. What an
    OP chain takes beside the gas is in the bound, too, and in no row.
    """
    if rate * gas * ceiling > bound:
        return False
    if network is None or network.data_fee:
        return True
    room = -(-gas * ceiling * BOUND_PERCENT // 100)
    return bound < max(rate * room + 1, rate * gas * (ceiling + 1))


def _worth(
    instance: Instance, code: str, subject: str, network: str | None, asset: str, minor: Decimal,
    eur_minor: Decimal, prices: Sequence[Decimal] | None,
) -> Iterator[Finding]:  # fmt: skip
    """Euro cents at one of these prices, rounded up."""
    digits = instance.digits(asset)
    if not prices or digits is None or asset == EUR:
        return
    unit = Fraction(10) ** (EUR_DIGITS - digits)
    worth = {int(-(-Fraction(int(minor)) * Fraction(price) * unit // 1)) for price in prices}
    if int(eur_minor) not in worth:
        told = " or ".join(str(one) for one in sorted(worth))
        yield _finding(code, subject, network, asset, told, eur_minor, pauses=False)


def _made_of(mid: Fraction, source: Sequence[Decimal], target: Sequence[Decimal]) -> bool:
    """Whether `mid` is one of the ratios of these prices, rounded."""
    return any(_is_rounded(mid, Fraction(one) / Fraction(two)) for one in source for two in target)


def _is_rounded(mid: Fraction, ratio: Fraction) -> bool:
    places = max(MID_DIGITS - len(str(int(ratio))), 0)
    return 2 * abs(mid - ratio) <= Fraction(1, 10**places)


def _span(prices: Sequence[Any]) -> str:
    least, most = min(prices), max(prices)
    return str(least) if least == most else f"{least} to {most}"

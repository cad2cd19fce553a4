"""Quotes: limits, lives, owners, and the two ways to state an amount."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from wallet import ledger
from wallet.errors import InvalidField, LimitExceeded, NotFound, RateLimited
from wallet.fx import quotes
from wallet.fx.errors import (
    AmountOutsideLimit,
    LiquidityUnavailable,
    QuoteExpired,
    QuoteUsed,
    RateStale,
)
from wallet.ledger import accounts
from wallet.money import AmountError, Money, UnknownAsset
from wallet.testing.exchange import ExchangeBed


async def quote(
    bed: ExchangeBed,
    who: str,
    source: str = "USDC",
    target: str = "EUR",
    *,
    kind: quotes.QuoteKind = "conversion",
    **fields: Any,
) -> quotes.Quote:
    draft = quotes.QuoteDraft.parse(
        bed.assets, source_asset=source, target_asset=target, kind=kind, **fields
    )
    async with bed.db.transaction() as session:
        return await quotes.create(session, assets=bed.assets, principal_id=who, draft=draft)


async def take(
    bed: ExchangeBed,
    who: str,
    quote_id: str,
    *,
    kind: quotes.QuoteKind = "conversion",
    by: str = "cnv_x",
) -> quotes.Quote:
    async with bed.db.transaction() as session:
        return await quotes.take(
            session, assets=bed.assets, principal_id=who, quote_id=quote_id, kind=kind, used_by=by
        )


async def fund_bank(bed: ExchangeBed, amount: str, code: str) -> None:
    money = bed.money(amount, code)
    async with bed.db.transaction() as session:
        await ledger.post(
            session,
            ledger.Command(
                kind="test.bank",
                ref="bank",
                lines=[
                    ledger.Line(accounts.bank("simbank", code), Money(-money.minor, money.asset)),
                    ledger.Line(accounts.capital(code), money),
                ],
            ),
        )


class TestCreate:
    async def test_states_every_part_of_the_price(self, bed: ExchangeBed) -> None:
        who = await bed.person()
        made = await quote(bed, who, source_amount="100")
        assert made.source.amount == "100.000000" and made.target.amount == "85.77"
        assert (made.mid_rate, made.spread, made.rate) == ("0.8621", "0.005", "0.8577895")
        assert Decimal(made.rate) == Decimal(made.mid_rate) * (1 - Decimal(made.spread))
        assert made.fees == () and made.total_cost == made.spread_money
        assert made.spread_money.amount == "0.510382"
        assert made.rounding == "target_floored" and made.simulated
        assert (made.expires_at - made.created_at).total_seconds() == pytest.approx(60, abs=0.1)

    async def test_keeps_the_target_exact_when_that_is_asked_for(self, bed: ExchangeBed) -> None:
        who = await bed.person()
        made = await quote(bed, who, target_amount="85.77")
        assert made.target.amount == "85.77" and made.rounding == "source_ceiled"
        assert made.source.amount == "99.989567"

    async def test_a_payment_carries_its_fee_corridor_and_rule(self, bed: ExchangeBed) -> None:
        await fund_bank(bed, "1000000.00", "MXN")
        who = await bed.person()
        made = await quote(bed, who, "EUR", "MXN", kind="payment", source_amount="40.00")
        assert (made.corridor, made.refund_rule, made.eta_seconds) == (
            "EUR-MX",
            "original_rate",
            60,
        )
        assert [(fee.kind, fee.money.amount) for fee in made.fees] == [("payment", "0.99")]
        assert made.total_cost == made.spread_money + made.fees[0].money
        assert (made.expires_at - made.created_at).total_seconds() == pytest.approx(1800, abs=0.1)

    @pytest.mark.parametrize(
        ("fields", "error", "field"),
        [
            ({}, InvalidField, "/source_amount"),
            ({"source_amount": "1", "target_amount": "1"}, InvalidField, "/source_amount"),
            ({"source_amount": 1}, AmountError, "/source_amount"),
            ({"source_amount": "0"}, AmountError, "/source_amount"),
            ({"source_amount": "0.0000001"}, AmountError, "/source_amount"),
            ({"target_amount": "0.001"}, AmountError, "/target_amount"),
            ({"source_amount": "1", "source": "XYZ"}, UnknownAsset, "/source_asset"),
            ({"source_amount": "1", "target": "XYZ"}, UnknownAsset, "/target_asset"),
            ({"source_amount": "1", "target": "USDC"}, InvalidField, "/target_asset"),
            ({"source_amount": "1", "corridor": "EUR-MX"}, InvalidField, "/corridor"),
            ({"source_amount": "1", "kind": "payment", "target": "JPY"}, InvalidField, "/corridor"),
            (
                {"source_amount": "1", "kind": "payment", "corridor": "EUR-MX"},
                InvalidField,
                "/corridor",
            ),
            (
                {"source_amount": "1", "kind": "payment", "corridor": "XX"},
                InvalidField,
                "/corridor",
            ),
        ],
    )
    async def test_refuses_what_makes_no_sense(
        self, bed: ExchangeBed, fields: dict[str, Any], error: type[Exception], field: str
    ) -> None:
        who = await bed.person()
        with pytest.raises(error) as refused:
            await quote(bed, who, **fields)
        assert getattr(refused.value, "field", None) == field
        assert await bed.count("quotes") == 0

    async def test_names_the_limits_when_nothing_would_arrive(self, bed: ExchangeBed) -> None:
        who = await bed.person()
        with pytest.raises(AmountOutsideLimit) as refused:
            await quote(bed, who, source_amount="0.000001")
        assert refused.value.extra["min"] == {"amount": "0.011658", "asset": "USDC"}
        assert (await quote(bed, who, source_amount="0.011658")).target.amount == "0.01"
        with pytest.raises(AmountOutsideLimit):
            await quote(bed, who, source_amount="0.011657")
        most = refused.value.extra["max"]["amount"]
        await quote(bed, who, source_amount=most)
        with pytest.raises(AmountOutsideLimit):
            await quote(bed, who, source_amount=str(Decimal(most) + Decimal("0.000001")))

    async def test_keeps_a_corridor_s_limits(self, bed: ExchangeBed) -> None:
        await fund_bank(bed, "1000000.00", "MXN")
        who = await bed.person()
        for amount in ("0.99", "10000.01"):
            with pytest.raises(AmountOutsideLimit) as refused:
                await quote(bed, who, "EUR", "MXN", kind="payment", source_amount=amount)
            assert refused.value.extra == {
                "min": {"amount": "1.00", "asset": "EUR"},
                "max": {"amount": "10000.00", "asset": "EUR"},
            }
        await quote(bed, who, "EUR", "MXN", kind="payment", source_amount="10000.00")

    async def test_needs_a_fresh_rate(self, bed: ExchangeBed) -> None:
        who = await bed.person()
        await bed.advance(600)
        with pytest.raises(RateStale):
            await quote(bed, who, source_amount="1")

    async def test_needs_money_in_the_bank_abroad(self, bed: ExchangeBed) -> None:
        await fund_bank(bed, "100.00", "MXN")
        who = await bed.person()
        await quote(bed, who, "EUR", "MXN", kind="payment", target_amount="100.00")
        with pytest.raises(LiquidityUnavailable):
            await quote(bed, who, "EUR", "MXN", kind="payment", target_amount="100.01")

    async def test_stops_at_the_position_s_limit_and_takes_what_shrinks_it(
        self, bed: ExchangeBed
    ) -> None:
        who = await bed.person()
        short = bed.money("799.0", "ETH")  # 1,997,500 EUR
        async with bed.db.transaction() as session:
            await ledger.post(
                session,
                ledger.Command(
                    kind="test.position",
                    ref="position",
                    lines=[
                        ledger.Line(accounts.fx_position("ETH"), Money(-short.minor, short.asset)),
                        ledger.Line(accounts.capital("ETH"), short),
                    ],
                ),
            )
        await quote(bed, who, "EUR", "ETH", target_amount="1")
        with pytest.raises(LiquidityUnavailable):
            await quote(bed, who, "EUR", "ETH", target_amount="1.1")
        await quote(bed, who, "ETH", "EUR", source_amount="30")


class TestLimitsPerPrincipal:
    async def test_five_live_quotes_and_no_sixth(self, bed: ExchangeBed) -> None:
        who, other = await bed.person(), await bed.person()
        made = [await quote(bed, who, source_amount="1") for _ in range(quotes.LIVE_LIMIT)]
        with pytest.raises(RateLimited) as refused:
            await quote(bed, who, source_amount="1")
        assert 1 <= refused.value.extra["retry_after"] <= 61
        await quote(bed, other, source_amount="1")
        async with bed.db.transaction() as session:
            await quotes.discard(session, principal_id=who, quote_id=made[0].id)
        await quote(bed, who, source_amount="1")
        await bed.advance(61)
        await bed.table_rates()
        await quote(bed, who, source_amount="1")

    async def test_five_even_when_twenty_ask_at_once(self, bed: ExchangeBed) -> None:
        who = await bed.person()

        async def ask() -> bool:
            try:
                await quote(bed, who, source_amount="1")
            except RateLimited:
                return False
            return True

        assert sum(await asyncio.gather(*(ask() for _ in range(20)))) == quotes.LIVE_LIMIT

    async def test_counts_used_and_live_notional_of_a_day(self, bed: ExchangeBed) -> None:
        who = await bed.person()
        for number in range(5):
            made = await quote(bed, who, "EUR", "USD", source_amount="99999.00")
            await take(bed, who, made.id, by=f"cnv_{number}")
        with pytest.raises(LimitExceeded):
            await quote(bed, who, "EUR", "USD", source_amount="6.00")
        await quote(bed, who, "EUR", "USD", source_amount="5.00")
        await bed.advance(86_401)
        await bed.table_rates()
        await quote(bed, who, "EUR", "USD", source_amount="99999.00")


class TestTake:
    async def test_once(self, bed: ExchangeBed) -> None:
        who = await bed.person()
        made = await quote(bed, who, source_amount="1")
        assert (await take(bed, who, made.id)).id == made.id
        with pytest.raises(QuoteUsed):
            await take(bed, who, made.id, by="cnv_y")
        await bed.advance(61)
        with pytest.raises(QuoteUsed):  # used says more than expired
            await take(bed, who, made.id, by="cnv_y")

    async def test_at_the_edge_of_its_life(self, bed: ExchangeBed) -> None:
        who = await bed.person()
        made, late = [await quote(bed, who, source_amount="1") for _ in range(2)]
        await bed.advance(57)
        await take(bed, who, made.id)
        await bed.advance(3)
        with pytest.raises(QuoteExpired):
            await take(bed, who, late.id, by="cnv_y")

    async def test_not_for_as_long_as_the_clock_was_set_back(self, bed: ExchangeBed) -> None:
        """A price of a minute would have stood for hours: an option that costs nothing."""
        who = await bed.person()
        made = await quote(bed, who, source_amount="1")
        async with bed.db.transaction() as session:
            await session.execute(
                text(
                    "UPDATE quotes SET created_at = created_at + interval '2 hours',"
                    " expires_at = expires_at + interval '2 hours'"
                )
            )
        with pytest.raises(QuoteExpired):
            await take(bed, who, made.id)

    async def test_by_its_owner_alone(self, bed: ExchangeBed) -> None:
        who, other = await bed.person(), await bed.person()
        made = await quote(bed, who, source_amount="1")
        with pytest.raises(NotFound):
            await take(bed, other, made.id)
        with pytest.raises(NotFound):
            await take(bed, who, "quo_unknown")
        async with bed.db.transaction() as session:
            await quotes.discard(session, principal_id=other, quote_id=made.id)
            with pytest.raises(NotFound):
                await quotes.get(session, assets=bed.assets, principal_id=other, quote_id=made.id)
        await take(bed, who, made.id)

    async def test_for_its_own_kind_alone(self, bed: ExchangeBed) -> None:
        who = await bed.person()
        made = await quote(bed, who, source_amount="1")
        with pytest.raises(InvalidField) as refused:
            await take(bed, who, made.id, kind="payment")
        assert refused.value.field == "/quote_id"

    async def test_a_refusal_leaves_it_usable(self, bed: ExchangeBed) -> None:
        who = await bed.person()
        made = await quote(bed, who, source_amount="1")
        with pytest.raises(RuntimeError):
            async with bed.db.transaction() as session:
                await quotes.take(
                    session,
                    assets=bed.assets,
                    principal_id=who,
                    quote_id=made.id,
                    kind="conversion",
                    used_by="cnv_x",
                )
                raise RuntimeError
        assert (await take(bed, who, made.id)).used_at is None

    async def test_two_quotes_never_serve_one_resource(self, bed: ExchangeBed) -> None:
        who = await bed.person()
        first, second = [await quote(bed, who, source_amount="1") for _ in range(2)]
        await take(bed, who, first.id, by="cnv_same")
        with pytest.raises(Exception, match="quotes_used_by_key"):
            await take(bed, who, second.id, by="cnv_same")
        async with bed.db.transaction() as session:
            used = await session.execute(
                text("SELECT count(*) FROM quotes WHERE used_by IS NOT NULL")
            )
            assert used.scalar_one() == 1

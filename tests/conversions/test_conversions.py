"""Conversions: one entry, the spread on its own posting, a quote spent once."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from wallet import conversions, crashpoints
from wallet.errors import InvalidField, NotFound, WalletError
from wallet.fx import quotes
from wallet.fx.errors import LiquidityUnavailable, QuoteExpired, QuoteUsed
from wallet.ledger import accounts
from wallet.ledger.errors import AccountFrozen, InsufficientFunds
from wallet.onchain import tokens
from wallet.testing.exchange import ExchangeBed
from wallet.testing.operators import operators_of


async def quote(bed: ExchangeBed, who: str, amount: str = "100") -> quotes.Quote:
    draft = quotes.QuoteDraft.parse(
        bed.assets,
        source_asset="USDC",
        target_asset="EUR",
        kind="conversion",
        source_amount=amount,
    )
    async with bed.db.transaction() as session:
        return await quotes.create(session, assets=bed.assets, principal_id=who, draft=draft)


async def convert(bed: ExchangeBed, who: str, quote_id: str) -> conversions.Conversion:
    async with bed.db.transaction() as session:
        return await conversions.create(
            session, assets=bed.assets, principal_id=who, quote_id=quote_id
        )


async def balances(bed: ExchangeBed, who: str) -> tuple[str, str]:
    return await bed.balance(who, "USDC"), await bed.balance(who, "EUR")


class TestCreate:
    async def test_books_one_entry_with_the_spread_on_its_own_posting(
        self, bed: ExchangeBed
    ) -> None:
        who = await bed.person(USDC="150")
        made = await convert(bed, who, (await quote(bed, who)).id)
        assert (made.status, made.source.amount, made.target.amount) == (
            "completed",
            "100.000000",
            "85.77",
        )
        assert await balances(bed, who) == ("50.000000", "85.77")
        assert (await bed.account(accounts.spread_income("USDC"))).amount == "0.510382"
        assert (await bed.account(accounts.fx_position("USDC"))).amount == "99.489618"
        assert (await bed.account(accounts.fx_position("EUR"))).amount == "-85.77"
        async with bed.db.transaction() as session:
            entries = await session.execute(
                text("SELECT id FROM entries WHERE ref = :id"), {"id": made.id}
            )
            assert entries.scalars().all() == [made.entry_id]
            told = await session.execute(text("SELECT type, ref FROM outbox"))
            assert [tuple(row) for row in told] == [("conversion.completed", made.id)]
        assert await bed.imbalance() == {}

    async def test_a_halted_token_has_no_price(self, bed: ExchangeBed) -> None:
        """Whoever can mint it would take the house's euros for it at the price of before."""
        who = await bed.person(USDC="150")
        made = await quote(bed, who)
        async with bed.db.transaction() as session:
            await tokens.halt_token(session, network="local", asset="USDC", reason="minted")
        with pytest.raises(QuoteExpired):
            await convert(bed, who, made.id)
        with pytest.raises(LiquidityUnavailable):
            await quote(bed, who)
        assert await balances(bed, who) == ("150.000000", "0.00")
        operators = operators_of(bed.db)
        async with operators.transaction() as session:
            await tokens.resume_token(session, network="local", asset="USDC", by="ada")
        await operators.dispose()
        assert (await convert(bed, who, made.id)).status == "completed"

    async def test_is_listed_and_read_by_its_owner_alone(self, bed: ExchangeBed) -> None:
        who, other = await bed.person(USDC="150"), await bed.person()
        made = [await convert(bed, who, (await quote(bed, who, "1")).id) for _ in range(3)]
        async with bed.db.transaction() as session:
            mine = await conversions.page(
                session, assets=bed.assets, principal_id=who, limit=2, cursor=None
            )
            assert mine == made[::-1]  # one more than asked for
            rest = await conversions.page(
                session,
                assets=bed.assets,
                principal_id=who,
                limit=2,
                cursor=(mine[1].created_at, mine[1].id),
            )
            assert rest == made[:1]
            one = await conversions.get(
                session, assets=bed.assets, principal_id=who, conversion_id=made[0].id
            )
            assert one == made[0]
            with pytest.raises(NotFound):
                await conversions.get(
                    session, assets=bed.assets, principal_id=other, conversion_id=made[0].id
                )

    async def test_needs_the_money_and_leaves_the_quote_alive(self, bed: ExchangeBed) -> None:
        who = await bed.person(USDC="99.999999")
        made = await quote(bed, who)
        with pytest.raises(InsufficientFunds):
            await convert(bed, who, made.id)
        await bed.give(who, "0.000001", "USDC")
        await convert(bed, who, made.id)
        assert await balances(bed, who) == ("0.000000", "85.77")

    async def test_refuses_an_old_a_used_and_a_strange_quote(self, bed: ExchangeBed) -> None:
        who, other = await bed.person(USDC="500"), await bed.person(USDC="500")
        used, old, payment = [await quote(bed, who) for _ in range(3)]
        await convert(bed, who, used.id)
        with pytest.raises(QuoteUsed):
            await convert(bed, who, used.id)
        with pytest.raises(NotFound):
            await convert(bed, other, old.id)
        async with bed.db.transaction() as session:
            await session.execute(
                text("UPDATE quotes SET kind = 'payment', corridor = 'USDC-EU' WHERE id = :id"),
                {"id": payment.id},
            )
        with pytest.raises(InvalidField):
            await convert(bed, who, payment.id)
        await bed.advance(60)
        with pytest.raises(QuoteExpired):
            await convert(bed, who, old.id)
        assert await balances(bed, who) == ("400.000000", "85.77")
        assert await balances(bed, other) == ("500.000000", "0.00")

    async def test_a_quote_that_ends_while_its_row_is_waited_for(self, bed: ExchangeBed) -> None:
        """Else it is used after its time, which the auditor calls a break and pauses its asset."""
        who = await bed.person(USDC="150")
        made = await quote(bed, who)
        async with bed.db.transaction() as rival:
            await rival.execute(
                text("SELECT 1 FROM quotes WHERE id = :id FOR UPDATE"), {"id": made.id}
            )
            waiting = asyncio.create_task(convert(bed, who, made.id))
            stuck = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            while not await bed.db.look(stuck):  # noqa: ASYNC110 - the database has no bell
                await asyncio.sleep(0.01)
            await bed.advance(quotes.LIFE_SECONDS["conversion"])
        with pytest.raises(QuoteExpired):
            await waiting
        assert await balances(bed, who) == ("150.000000", "0.00")

    async def test_refuses_a_frozen_account(self, bed: ExchangeBed) -> None:
        who = await bed.person(USDC="100")
        made = await quote(bed, who)
        async with bed.db.transaction() as session:
            await session.execute(
                text(
                    "SELECT ledger_set_status(id, 'frozen') FROM accounts WHERE principal_id = :who"
                ),
                {"who": who},
            )
        with pytest.raises(AccountFrozen):
            await convert(bed, who, made.id)
        assert await bed.count("conversions") == 0


class TestRivals:
    async def test_sixteen_at_once_spend_one_quote_once(self, bed: ExchangeBed) -> None:
        who = await bed.person(USDC="10000")
        for _ in range(5):
            made = await quote(bed, who)

            async def attempt(quote_id: str = made.id) -> str:
                try:
                    return (await convert(bed, who, quote_id)).status
                except WalletError as error:
                    return error.code

            answers = await asyncio.gather(*(attempt() for _ in range(16)))
            assert sorted(answers) == ["completed"] + ["quote_used"] * 15
        assert await balances(bed, who) == ("9500.000000", "428.85")
        assert await bed.imbalance() == {}

    async def test_rivals_never_spend_more_than_there_is(self, bed: ExchangeBed) -> None:
        who = await bed.person(USDC="250")
        made = [await quote(bed, who) for _ in range(5)]

        async def attempt(quote_id: str) -> str:
            try:
                return (await convert(bed, who, quote_id)).status
            except WalletError as error:
                return error.code

        answers = await asyncio.gather(*(attempt(one.id) for one in made))
        assert sorted(answers) == ["completed"] * 2 + ["insufficient_funds"] * 3
        assert await balances(bed, who) == ("50.000000", "171.54")

    async def test_the_database_itself_refuses_a_second_use(self, bed: ExchangeBed) -> None:
        who = await bed.person(USDC="500")
        made = await convert(bed, who, (await quote(bed, who)).id)
        with pytest.raises(Exception, match="conversions_quote_id_key"):
            async with bed.db.transaction() as session:
                await session.execute(
                    text(
                        "INSERT INTO conversions (id, principal_id, quote_id, status, source_asset,"
                        " source_minor, target_asset, target_minor, entry_id)"
                        " SELECT 'cnv_2', principal_id, quote_id, status, source_asset,"
                        " source_minor, target_asset, target_minor, entry_id || '2'"
                        " FROM conversions WHERE id = :id"
                    ),
                    {"id": made.id},
                )


class TestCrash:
    async def test_a_death_before_the_commit_leaves_nothing(self, bed: ExchangeBed) -> None:
        who = await bed.person(USDC="100")
        made = await quote(bed, who)
        for point in ("conversion.posted", "conversion.stored"):

            def die(name: str, here: str = point) -> None:
                if name == here:
                    raise KeyboardInterrupt(here)

            crashpoints.install(die)
            try:
                with pytest.raises(KeyboardInterrupt):
                    await convert(bed, who, made.id)
            finally:
                crashpoints.install(None)
            assert await balances(bed, who) == ("100.000000", "0.00")
            assert await bed.count("conversions") == await bed.count("outbox") == 0
        await convert(bed, who, made.id)
        assert await balances(bed, who) == ("0.000000", "85.77")
        assert await bed.imbalance() == {}

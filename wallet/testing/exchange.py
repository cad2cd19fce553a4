"""A bed for tests of money: people with balances, fresh rates, a clock to move, books to check."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import text

from wallet import faults, ledger
from wallet.db import Database
from wallet.fx.feed import TABLE, RateFeed, SimulatedRates
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.money import FIAT, AssetBook, Money, chain_asset, parse_amount


def sandbox_assets() -> AssetBook:
    """The fiat table, ETH and a six-decimals USDC."""
    return AssetBook(
        [
            *FIAT,
            chain_asset("ETH", "native", 18, "Ether"),
            chain_asset("USDC", "token", 6, "USD Coin"),
        ]
    )


class ExchangeBed:
    """Sets scenes directly in the books, always against `house:capital`."""

    def __init__(self, db: Database, assets: AssetBook | None = None) -> None:
        self.db = db
        self.assets = assets or sandbox_assets()

    def money(self, amount: str, code: str) -> Money:
        """`money("12.34", "EUR")`."""
        return parse_amount(amount, self.assets.get(code), allow_zero=True)

    async def person(self, **balances: str) -> str:
        """A new principal with these balances, for example `EUR="100.00"`."""
        principal_id = new_id("usr")
        async with self.db.transaction() as session:
            await session.execute(
                text("INSERT INTO principals (id, kind) VALUES (:id, 'user')"),
                {"id": principal_id},
            )
        for code, amount in balances.items():
            await self.give(principal_id, amount, code)
        return principal_id

    async def give(self, principal_id: str, amount: str, code: str) -> None:
        """Credit somebody out of the owners' capital."""
        money = self.money(amount, code)
        async with self.db.transaction() as session:
            await ledger.post(
                session,
                ledger.Command(
                    kind="test.given",
                    ref=principal_id,
                    lines=[
                        ledger.Line(accounts.capital(code), Money(-money.minor, money.asset)),
                        ledger.Line(accounts.customer(principal_id, code), money),
                    ],
                ),
            )

    async def balance(self, principal_id: str, code: str) -> str:
        """What somebody has, as a decimal string."""
        return (await self.account(accounts.customer(principal_id, code))).amount

    async def account(self, spec: ledger.AccountSpec) -> Money:
        """What an account holds, as people read it."""
        async with self.db.transaction() as session:
            minor = await ledger.balance_of(session, spec)
        return Money(minor, self.assets.get(spec.asset))

    async def fresh_rates(self) -> None:
        """What the feed would do within a second."""
        await RateFeed(self.db, source=SimulatedRates()).tick()

    async def table_rates(self, **changed: str) -> None:
        """The table's own prices as of now, some of them replaced."""
        prices = {**TABLE, **{code: Decimal(price) for code, price in changed.items()}}
        async with self.db.transaction() as session:
            for code, price in prices.items():
                await session.execute(
                    text(
                        "INSERT INTO fx_rates (asset, as_of, eur_price, source, simulated)"
                        " VALUES (:asset, bifold_now(), :price, 'test', true)"
                    ),
                    {"asset": code, "price": price},
                )

    async def advance(self, seconds: int) -> None:
        """Move business time."""
        async with self.db.transaction() as session:
            await session.execute(
                text("UPDATE sandbox_clock SET offset_seconds = offset_seconds + :seconds"),
                {"seconds": seconds},
            )

    async def fault(self, name: str, *, on: bool) -> None:
        """Switch a sandbox fault."""
        async with self.db.transaction() as session:
            await faults.switch(session, name, on=on)

    async def imbalance(self) -> dict[str, int]:
        """Assets whose accounts do not sum to zero; empty in healthy books."""
        async with self.db.transaction() as session:
            sums = await ledger.trial_balance(session)
        return {code: total for code, total in sums.items() if total}

    async def in_transit(self) -> dict[str, int]:
        """Every transit account that is not empty."""
        async with self.db.transaction() as session:
            rows = await session.execute(
                text(
                    "SELECT path, balance_minor FROM account_balances"
                    " WHERE path LIKE '%:in_transit:%' AND balance_minor <> 0"
                )
            )
            return {row.path: int(row.balance_minor) for row in rows}

    async def count(self, table: str) -> int:
        """Rows of one table."""
        async with self.db.transaction() as session:
            found = await session.execute(text(f"SELECT count(*) FROM {table}"))
            return int(found.scalar_one())

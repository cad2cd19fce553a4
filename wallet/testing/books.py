"""People and money for tests: principals with funded accounts, made through the real poster."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import ledger
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.money import FIAT, Asset, AssetBook, Money, chain_asset

ETH = chain_asset("ETH", "native", 18, "Ether")
USDC = chain_asset("USDC", "token", 6, "USD Coin")
ASSETS = AssetBook([*FIAT, ETH, USDC])
EUR = ASSETS.get("EUR")


async def new_principal(session: AsyncSession) -> str:
    """A principal of kind user, without a person behind it."""
    principal_id = new_id("usr")
    await session.execute(
        text("INSERT INTO principals (id, kind) VALUES (:id, 'user')"), {"id": principal_id}
    )
    return principal_id


async def fund(session: AsyncSession, principal_id: str, minor: int, asset: Asset = EUR) -> str:
    """Give `minor` units out of the house's capital; returns the entry's id."""
    return await move(
        session, accounts.capital(asset.code), accounts.customer(principal_id, asset.code), minor
    )


async def move(
    session: AsyncSession,
    source: accounts.AccountSpec,
    target: accounts.AccountSpec,
    minor: int,
) -> str:
    """Post one entry of two lines; the asset is the source account's. Returns the entry's id."""
    asset = ASSETS.get(source.asset)
    entry_id = await ledger.post(
        session,
        ledger.Command(
            kind="test",
            ref="test",
            lines=[
                ledger.Line(source, Money(-minor, asset)),
                ledger.Line(target, Money(minor, asset)),
            ],
        ),
    )
    assert entry_id is not None
    return entry_id

"""The terms of every asset that was ever listed: what is stored in it is read by them for good.

Balances are integers of the smallest unit. Under other decimals the same integer would be another
amount, so an asset changes them only as long as nothing of it is in the books; and one that left
the networks file keeps its pages.
"""

from __future__ import annotations

from sqlalchemy import text

from wallet.db import Database
from wallet.money import Asset, AssetBook, chain_asset

TERMS = ("code", "kind", "scale", "name")
INSERT = text(
    "INSERT INTO asset_terms (code, kind, scale, name) VALUES (:code, :kind, :scale, :name)"
    " ON CONFLICT (code) DO NOTHING"
)
CORRECT = text(  # the database refuses it where it does (r0046); here nobody has to be refused
    "UPDATE asset_terms SET kind = :kind, scale = :scale, name = :name WHERE code = :code AND NOT"
    " EXISTS (SELECT FROM accounts a JOIN postings p ON p.account_id = a.id WHERE a.asset = :code)"
    " RETURNING code"
)


class TermsChanged(ValueError):
    """An asset is listed under other terms than those that its balances were made by."""


async def remember(db: Database, assets: AssetBook) -> None:
    """Write down what is listed and was not before; retire in `assets` what is not any more.
    Raises TermsChanged."""
    known = await recall(db, assets)
    async with db.transaction() as session:
        for asset in assets:
            before = known.get(asset.code)
            if asset.kind == "fiat":
                continue  # a table of the code, not of the operator
            terms = {name: getattr(asset, name) for name in TERMS}
            if before is None:
                await session.execute(INSERT, terms)
            elif (before.kind, before.scale) != (asset.kind, asset.scale) and (
                (await session.execute(CORRECT, terms)).one_or_none() is None
            ):
                raise TermsChanged(
                    f"{asset.code} was a {before.kind} of {before.scale} decimals and is listed as"
                    f" a {asset.kind} of {asset.scale}: give the new one another code."
                )


async def recall(db: Database, assets: AssetBook) -> dict[str, Asset]:
    """Retire in `assets` what is not listed any more. The terms of all that ever was, by code."""
    async with db.transaction() as session:
        rows = await session.execute(text("SELECT code, kind, scale, name FROM asset_terms"))
        known = {row.code: chain_asset(*row) for row in rows}
    for asset in known.values():
        assets.retire(asset)
    return known

"""The terms of every asset that was ever listed: what is stored in it is read by them for good.

Balances are integers of the smallest unit. Under other decimals the same integer would be another
amount, so an asset never changes them; and one that left the networks file keeps its pages.
"""

from __future__ import annotations

from sqlalchemy import text

from wallet.db import Database
from wallet.money import Asset, AssetBook, chain_asset


class TermsChanged(ValueError):
    """An asset is listed under other terms than those that its balances were made by."""


async def remember(db: Database, assets: AssetBook) -> None:
    """Write down what is listed and was not before; retire in `assets` what is not any more.
    Raises TermsChanged."""
    async with db.transaction() as session:
        known = {row.code: row for row in await session.execute(text("SELECT * FROM asset_terms"))}
        for asset in assets:
            before = known.pop(asset.code, None)
            if asset.kind == "fiat":
                continue  # a table of the code, not of the operator
            if before is not None and (before.kind, before.scale) != (asset.kind, asset.scale):
                raise TermsChanged(
                    f"{asset.code} was a {before.kind} of {before.scale} decimals and is listed as"
                    f" a {asset.kind} of {asset.scale}: give the new one another code."
                )
            if before is None:
                await session.execute(
                    text(
                        "INSERT INTO asset_terms (code, kind, scale, name) VALUES"
                        " (:code, :kind, :scale, :name) ON CONFLICT (code) DO NOTHING"
                    ),
                    {
                        "code": asset.code, "kind": asset.kind, "scale": asset.scale,
                        "name": asset.name,
                    },
                )  # fmt: skip
    for row in known.values():
        retired: Asset = chain_asset(row.code, row.kind, row.scale, row.name)
        assets.retire(retired)

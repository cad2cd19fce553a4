"""What is known of coins and addresses when a block of arrivals is kept."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.onchain.freeze import OWN_PURPOSES


async def found_by_balance(
    session: AsyncSession, network: str, asset: str, addresses: Sequence[str], block: int
) -> set[str]:
    """Addresses whose unexplained coins up to this block are in the books already."""
    rows = await session.execute(
        text(
            "SELECT DISTINCT address FROM unattributed_arrivals WHERE network = :network"
            " AND asset = :asset AND address = ANY(:addresses) AND at_block >= :block"
        ),
        {"network": network, "asset": asset, "addresses": list(addresses), "block": block},
    )
    return set(rows.scalars())


async def held_by_us(session: AsyncSession, network: str, addresses: Sequence[str]) -> set[str]:
    """Those whose coins `chain:N:A:deposit` counts: issued on this network, or something was found
    there by balances."""
    rows = await session.execute(
        text(
            "SELECT address FROM deposit_addresses WHERE network = :network"
            " AND address = ANY(:addresses) UNION SELECT address FROM unattributed_arrivals"
            " WHERE network = :network AND address = ANY(:addresses)"
        ),
        {"network": network, "addresses": list(addresses)},
    )
    return set(rows.scalars())


async def own_transactions(
    session: AsyncSession, network: str, tx_hashes: Sequence[str]
) -> set[str]:
    """Those that the house itself sent to move its own coins (a sweep, gas for one)."""
    rows = await session.execute(
        text(
            "SELECT a.tx_hash FROM chain_attempts a JOIN chain_intents i ON i.id = a.intent_id"
            " WHERE a.network = :network AND a.tx_hash = ANY(:hashes)"
            " AND i.purpose = ANY(:purposes)"
        ),
        {"network": network, "hashes": list(tx_hashes), "purposes": list(OWN_PURPOSES)},
    )
    return set(rows.scalars())

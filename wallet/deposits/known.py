"""What is known of coins and addresses when a block of arrivals is kept."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.onchain.freeze import OWN_PURPOSES


async def found_by_balance(
    session: AsyncSession, network: str, addresses: Sequence[str], block: int
) -> set[tuple[str, str]]:
    """(address, asset) of which what no row explained up to this block is in the books already."""
    rows = await session.execute(
        text(
            "SELECT DISTINCT address, asset FROM unattributed_arrivals WHERE network = :network"
            " AND address = ANY(:addresses) AND at_block >= :block"
        ),
        {"network": network, "addresses": list(addresses), "block": block},
    )
    return {(row.address, row.asset) for row in rows}


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


async def unknown_of_ours(
    session: AsyncSession, network: str, sent: Collection[tuple[str, str]]
) -> set[str]:
    """Hashes of transactions, of (hash, sender), that a hot or warm address of the house sent and
    no payment of these books did: the database is an old copy, or somebody else has the key."""
    rows = await session.execute(
        text(
            "SELECT s.hash FROM unnest(CAST(:hashes AS text[]), CAST(:senders AS text[]))"
            " AS s (hash, sender) JOIN house_addresses h ON h.network = :network"
            "  AND h.address = s.sender AND h.place IN ('hot', 'warm')"
            " WHERE NOT EXISTS (SELECT FROM chain_attempts a WHERE a.network = :network"
            "  AND a.tx_hash = s.hash)"
        ),
        {
            "network": network,
            "hashes": [tx_hash for tx_hash, _ in sent],
            "senders": [sender for _, sender in sent],
        },
    )
    return set(rows.scalars())


async def own_transactions(
    session: AsyncSession, network: str, tx_hashes: Sequence[str]
) -> dict[str, frozenset[str]]:
    """Those that the house itself sent to move its own coins (a sweep, gas for one), each with the
    addresses whose coins its end books: a token's code may sweep others by the way."""
    rows = await session.execute(
        text(
            "SELECT a.tx_hash, array_remove(array_agg(c.address), NULL) AS addresses"
            " FROM chain_attempts a JOIN chain_intents i ON i.id = a.intent_id"
            " LEFT JOIN sweeps s ON s.intent_id = i.id"
            " LEFT JOIN sweep_accounts c ON c.sweep_id = s.id"
            " WHERE a.network = :network AND a.tx_hash = ANY(:hashes)"
            " AND i.purpose = ANY(:purposes) GROUP BY a.tx_hash"
        ),
        {
            "network": network, "hashes": sorted(set(tx_hashes)), "purposes": list(OWN_PURPOSES),
        },
    )  # fmt: skip
    return {row.tx_hash: frozenset(row.addresses) for row in rows}

"""Hot addresses as an evacuation must know them: also those that never sent anything.

The runner introduces a signer with its first payment. Until then a hot address may hold coins and
have no row; whoever looks at rows alone would call it empty, and an evacuation done.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.client import ChainClient
from wallet import custody
from wallet.db import Database
from wallet.errors import InvalidState
from wallet.onchain import signers
from wallet.onchain.burn import must_burn
from wallet.onchain.counts import used_for_all
from wallet.onchain.freeze import emptying

STANDBY = signers.STANDBY
COMPROMISED = signers.COMPROMISED
ORDERED = "evacuation"
"""Why it is frozen. An order that is done leaves this, and no place to go to."""


async def to_empty(session: AsyncSession, network: str) -> list[str]:
    """Hot addresses that are neither in reserve nor given up already."""
    rows = {
        row.address: row for row in await signers.all_signers(session, network) if row.role == "hot"
    }
    house = await custody.house_addresses(session, network=network)
    known = dict.fromkeys([*rows, *(one for one, place in house.items() if place == "hot")])
    return [
        one
        for one in known
        if one not in rows or rows[one].halted_reason not in (STANDBY, COMPROMISED)
    ]


async def to_give_up(session: AsyncSession, network: str) -> list[str]:
    """Hot addresses that an evacuation, which is over, has emptied, and that are halted still for
    what halted them before: a service cannot say more, and the command may not have waited."""
    rows = await session.execute(
        text(
            "SELECT s.address FROM chain_signers s JOIN network_freezes f ON f.network = s.network"
            " WHERE s.network = :network AND s.role = 'hot' AND s.halted_reason = ANY(:reasons)"
            " AND f.reason = :ordered AND f.evacuate_to IS NULL AND (s.halted_at <= f.at"
            "  OR EXISTS (SELECT FROM treasury_moves m JOIN chain_intents i ON i.id = m.intent_id"
            "   WHERE m.network = s.network AND m.kind = 'evacuate' AND m.created_at >= f.at"
            "   AND i.pinned_address = s.address)) ORDER BY s.address"
        ),
        {"network": network, "reasons": list(signers.CONTRADICTED), "ordered": ORDERED},
    )
    return list(rows.scalars())


async def given_up(session: AsyncSession, network: str, address: str) -> bool:
    """Whether nothing may be sent to this address: hot ones (and perhaps warm) are being emptied
    now, or it was given up on any network, since a key is the same on all of them."""
    return await emptying(session, network) or await signers.lost_anywhere(session, address=address)


async def working(session: AsyncSession, network: str) -> str | None:
    """A hot address that may be filled: the first that is not halted, nor given up anywhere."""
    rows = await signers.all_signers(session, network)
    halted = {row.address for row in rows if row.halted_reason is not None}
    house = await custody.house_addresses(session, network=network)
    found = sorted(one for one, place in house.items() if place == "hot" and one not in halted)
    used = [row.address for row in rows if row.address in found]
    for address in (*used, *found):
        if not await signers.lost_anywhere(session, address=address):
            return address
    return None


async def introduce(db: Database, chain: ChainClient, address: str) -> None:
    """Know a hot address as a signer from now on; its nonce starts where the chain stands.

    Raises InvalidState where the node's first nonce is still to be burnt (`wallet.onchain.burn`),
    where nodes differ about it, or before a worker has looked what its signer has signed there:
    these books may be an old copy, that knows nothing of it.
    """
    name = chain.network.name
    async with db.transaction() as session:
        if any(row.address == address for row in await signers.all_signers(session, name)):
            return
        if not await signers.were_compared(session, name):
            raise InvalidState("No worker has held these books against the signer yet.")
    identity, nonce = await chain.identity(), await used_for_all(chain, address)
    if nonce == 0 and must_burn(identity.client_version):
        raise InvalidState("This node takes its first payment twice: let it send one before.")
    async with db.transaction() as session:
        await signers.add_signer(session, network=name, address=address, next_nonce=nonce)

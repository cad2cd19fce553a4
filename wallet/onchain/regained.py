"""Batches that the chain has and these books have lost: an older copy of the database holds their
members as queued, and neither signer nor contract would know them in another payment.

Before a hot address goes on behind nonces that no row knows, the transactions that used them are
read. One that calls a payout contract and names payments which wait here becomes their batch
again, in review, and is ended by what final blocks say (`wallet.onchain.review`). What else waits
goes alone: a payment that was made alone the signer knows by its name, and refuses.
"""

from __future__ import annotations

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.address import checked
from chain.spent import Spent, spender
from chain.transactions import decode_signed, encode_unsigned
from wallet.crashpoints import hit
from wallet.errors import InvalidState
from wallet.ids import new_id
from wallet.onchain import casework, repository, signers
from wallet.onchain.batch import ALLOWANCE, allowance_call, contracts_of, reference
from wallet.onchain.desk import Desk
from wallet.onchain.intents import PAYOUT_BATCH, take_apart
from wallet.onchain.repository import intent_of
from wallet.onchain.review import ASK_ANOTHER, resolve
from wallet.onchain.states import State

LOST_ROW = "lost_row"
log = structlog.get_logger(__name__)


async def regain(desk: Desk, *, address: str, next_nonce: int, final: int, by: str) -> list[str]:
    """Find what waits here and was paid at nonces of `address` below `next_nonce` that were never
    given; ids of the batches, and of the allowance that they need. Safe to repeat. Raises
    InvalidState where the node does not show one of those transactions, ChainError."""
    tokens = {token.contract.lower() for token in desk.chain.network.tokens}
    async with desk.db.transaction() as session:
        contracts = await contracts_of(session, desk.chain.network)
        if not contracts:
            return []
        row = await signers.lock_signer(session, network=desk.network, address=address)
        given = await signers.given_nonces(
            session, network=desk.network, address=address, above=row.next_nonce - 1
        )
    found = []
    for nonce in range(row.next_nonce, next_nonce):
        if nonce in given:
            continue
        spent = await spender(desk.chain, address, nonce, final=final)
        if spent is None:
            raise InvalidState(
                f"This node does not show which transaction used nonce {nonce} of {address}: it"
                f" may have paid what waits here. {ASK_ANOTHER}"
            )
        allows = spent.tx.to in tokens and spent.data in map(allowance_call, contracts)
        if allows or spent.tx.to in contracts:
            found.append(spent)
    async with desk.db.transaction() as session:
        await take_apart(session, desk.network, after_seconds=0.0)
        for spent in found:
            await _batch_of(desk, session, address, spent)
        await _alone(session, desk.network)
        hit("batch.before_commit_regained")
    hit("batch.after_commit_regained")
    async with desk.db.transaction() as session:
        ids = await _in_review(session, desk.network, address)
    for batch_id in ids:
        await resolve(desk, batch_id, by=by)
    return ids


async def _batch_of(desk: Desk, session: AsyncSession, address: str, spent: Spent) -> None:
    """The row of a batch again, with those of its members that wait here, if any do; or that of the
    allowance which batches need, whose gas is the house's."""
    allows = spent.data in map(allowance_call, await contracts_of(session, desk.chain.network))
    rows = await session.execute(
        text(
            "SELECT * FROM chain_intents WHERE network = :network AND state = 'queued'"
            " AND batch_id IS NULL AND purpose <> :batch ORDER BY id FOR UPDATE"
        ),
        {"network": desk.network, "batch": PAYOUT_BATCH},
    )
    members = [one for one in map(intent_of, rows) if reference(one.id) in spent.data]
    if not members and not allows:
        return
    if spent.raw is None:
        raise InvalidState(
            f"{spent.tx.hash} is a payment of ours, and this node does not show its signature, or"
            f" it is of a form that we do not build. {ASK_ANOTHER}"
        )
    fields, batch_id = decode_signed(spent.raw)[0], new_id("int")
    await repository.insert_intent(
        session,
        {
            "id": batch_id, "purpose": ALLOWANCE if allows else PAYOUT_BATCH, "ref": new_id("int"),
            "network": desk.network, "asset": desk.chain.network.native_asset,
            "to_address": checked(fields.to), "amount_minor": fields.value,
            "gas_limit": fields.gas, "fee_ceiling_wei": fields.cap, "pinned_address": address,
            "data": spent.data, "state": str(State.IN_REVIEW), "reason": LOST_ROW,
            "from_address": address, "nonce": fields.nonce,
        },
    )  # fmt: skip
    batch = await repository.get_intent(session, batch_id)
    await repository.insert_attempt(
        session, intent=batch, seq=1, kind="pay", unsigned=encode_unsigned(fields),
        tip_wei=fields.tip, cap_wei=fields.cap,
    )  # fmt: skip
    await repository.store_signed(
        session, intent_id=batch_id, seq=1, raw=spent.raw, tx_hash=spent.tx.hash
    )
    await casework.moved(session, batch, previous=State.QUEUED, by=None)
    for member in members:
        await desk.move(session, member.id, State.IN_REVIEW, batch_id=batch_id, reason=LOST_ROW)
    log.warning("batch.regained", batch=batch_id, tx_hash=spent.tx.hash, members=len(members))


async def _in_review(session: AsyncSession, network: str, address: str) -> list[str]:
    rows = await session.execute(
        text(
            "SELECT id FROM chain_intents WHERE network = :network AND purpose = ANY(:ours)"
            " AND from_address = :address AND state = 'in_review' AND reason = :lost ORDER BY nonce"
        ),
        {
            "network": network,
            "ours": [PAYOUT_BATCH, ALLOWANCE],
            "address": address,
            "lost": LOST_ROW,
        },
    )
    return list(rows.scalars())


async def _alone(session: AsyncSession, network: str) -> None:
    await session.execute(
        text("UPDATE chain_intents SET alone = true WHERE network = :network AND state = 'queued'"),
        {"network": network},
    )

"""Batches that the chain has and these books have lost: an older copy of the database holds their
members as queued, and neither signer nor contract would know them in another payment.

Before a hot address goes on, the transactions that used nonces are read which no row knows, or at
which the signer had signed something else. One that calls the payout contract and names payments
which wait here becomes their batch again, in review, and is ended by what final blocks say
(`wallet.onchain.review`). One that reverted paid nobody, and takes none of them along: they may
have been paid since. What else waits goes alone: a payment that was made alone the signer knows by
its name, and refuses.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.address import checked
from chain.blocks import Receipt
from chain.spent import Spent, spender
from chain.transactions import decode_signed, encode_unsigned
from wallet.crashpoints import hit
from wallet.errors import InvalidState, NotFound
from wallet.ids import new_id
from wallet.onchain import casework, repository, signers
from wallet.onchain.batch import ALLOWANCE, contracts_of
from wallet.onchain.desk import Desk
from wallet.onchain.freeze import OWN_PURPOSES
from wallet.onchain.intents import PAYOUT_BATCH, take_apart
from wallet.onchain.journal import LOST_ROW
from wallet.onchain.payout_contract import APPROVE, allowance_call, reference
from wallet.onchain.replace import request_cancel
from wallet.onchain.repository import Intent, intent_of
from wallet.onchain.review import (
    ASK_ANOTHER,
    NONCES_AT_MOST,
    demand_shown,
    receipt_in,
    resolve,
)
from wallet.onchain.states import State

log = structlog.get_logger(__name__)


async def contradicted(desk: Desk, address: str) -> set[int]:
    """Nonces of `address` that were given here though its signer had signed something else at them:
    what used them is in no row."""
    async with desk.db.transaction() as session:
        rows = await session.execute(
            text(
                "SELECT nonce FROM chain_intents WHERE network = :network AND state = 'in_review'"
                " AND from_address = :address AND reason = :used"
            ),
            {"network": desk.network, "address": address, "used": signers.NONCE_USED},
        )
        return set(rows.scalars())


async def may_be_lost(desk: Desk, address: str) -> bool:
    """Whether anything waits here that a batch of `address`, now halted, could have paid: what was
    promised since then it cannot have."""
    async with desk.db.transaction() as session:
        return bool(
            await session.scalar(
                text(
                    "SELECT EXISTS (SELECT FROM chain_intents i JOIN chain_signers s"
                    " ON s.network = i.network AND s.address = :address"
                    " WHERE i.network = :network AND i.state IN ('queued', 'allocated')"
                    " AND i.asset <> :coin AND i.purpose <> ALL(:own)"
                    " AND i.created_at <= s.halted_at)"
                ),
                {
                    "network": desk.network, "coin": desk.chain.network.native_asset,
                    "own": list(OWN_PURPOSES), "address": address,
                },
            )
        )  # fmt: skip


async def never_given(desk: Desk, address: str, *, next_nonce: int) -> set[int]:
    """Nonces below `next_nonce` that no row has, above those of its own that came before an
    evacuation: that one saves what is left behind whatever used them."""
    async with desk.db.transaction() as session:
        rows = await session.execute(
            text(
                "SELECT i.nonce, m.id IS NOT NULL AS saved FROM chain_intents i"
                " LEFT JOIN treasury_moves m ON m.intent_id = i.id AND m.kind = 'evacuate'"
                " WHERE i.network = :network AND i.from_address = :address"
            ),
            {"network": desk.network, "address": address},
        )
        given = {row.nonce: row.saved for row in rows}
        row = await signers.lock_signer(session, network=desk.network, address=address)
    own = [nonce for nonce, saved in given.items() if not saved]
    after = max(own) + 1 if own else row.next_nonce
    if given and not own:
        after = max(min(given) - NONCES_AT_MOST, 0)
    return {*range(after, next_nonce)} - given.keys()


async def regain(
    desk: Desk, *, address: str, nonces: Collection[int], final: int, by: str
) -> list[str]:
    """Find what waits here and was paid at `nonces` of `address`, which were never given, or at
    `contradicted` ones; ids of the batches, and of the allowance that they need. Safe to repeat.
    Raises InvalidState where the node, or one of several alone, does not show one of those
    transactions, ChainError."""
    async with desk.db.transaction() as session:
        contracts = await contracts_of(session, desk.chain.network)
    if not contracts:
        return []
    tokens = {token.contract.lower() for token in desk.chain.network.tokens}
    allowances = [allowance_call(contract) for contract in contracts]
    again, found = await contradicted(desk, address), []
    for nonce in sorted({*nonces, *again}):
        spent = await spender(desk.chain, address, nonce, final=final)
        if spent is None:
            raise InvalidState(
                f"This node does not show which final transaction used nonce {nonce} of {address}:"
                f" it may have paid what waits here. {ASK_ANOTHER}"
            )
        await demand_shown(desk, spent)
        allows = spent.tx.to in tokens and spent.data in allowances
        if allows or spent.tx.to in contracts:
            found.append((spent, await receipt_in(desk, spent)))
    async with desk.db.transaction() as session:
        await take_apart(session, desk.network, after_seconds=0.0)
        for spent, receipt in found:
            await _batch_of(desk, session, address, spent, receipt, taken=spent.tx.nonce in again)
        await _alone(session, desk.network)
        hit("batch.before_commit_regained")
    hit("batch.after_commit_regained")
    async with desk.db.transaction() as session:
        ids = await _in_review(session, desk.network, address)
        left = await _without_nonce(session, desk.network, address)
    for batch_id in ids:
        await resolve(desk, batch_id, by=by)
    for batch_id, member_id in left:
        ids = list(dict.fromkeys([*ids, batch_id]))
        try:
            await resolve(desk, member_id, by=by)
        except (InvalidState, NotFound) as error:  # it stays in review, and is paid by nobody
            log.warning("batch.member_waits", intent=member_id, why=error.detail)
    return ids


async def _batch_of(
    desk: Desk, session: AsyncSession, address: str, spent: Spent, receipt: Receipt, *, taken: bool
) -> None:
    """The row of a batch again, with those of its members that wait here, if any do; or that of the
    allowance which batches need, whose gas is the house's. `taken`: another payment has its nonce
    here, so that the row has none."""
    allows = spent.data[: len(APPROVE)] == APPROVE
    rows = await session.execute(
        text(
            "SELECT i.* FROM chain_intents i LEFT JOIN chain_intents b ON b.id = i.batch_id"
            " WHERE i.network = :network AND i.purpose <> :batch AND ("
            "  (i.state = 'queued' AND b.id IS NULL)"
            "  OR (i.state = 'allocated' AND coalesce(b.from_address, i.from_address) = :address)"
            "  OR (i.state = 'in_review' AND b.from_address = :address AND b.state = 'in_review'"
            "   AND b.reason = :used)) ORDER BY i.id FOR UPDATE OF i"
        ),
        {
            "network": desk.network, "batch": PAYOUT_BATCH, "address": address,
            "used": signers.NONCE_USED,
        },
    )  # fmt: skip
    named = [one for one in map(intent_of, rows) if reference(one.id) in spent.data]
    if not (named or (allows and not taken)):
        return
    if spent.raw is None:
        raise InvalidState(
            f"{spent.tx.hash} is a payment of ours, and this node does not show its signature, or"
            f" it is of a form that we do not build. {ASK_ANOTHER}"
        )
    if receipt.status == 0:
        log.warning("batch.had_reverted", tx_hash=spent.tx.hash, gas_fee_wei=receipt.fee_wei)
        named = []
        if taken:
            return
    fields, batch_id = decode_signed(spent.raw)[0], new_id("int")
    values = {
        "id": batch_id, "purpose": ALLOWANCE if allows else PAYOUT_BATCH, "ref": new_id("int"),
        "network": desk.network, "asset": desk.chain.network.native_asset,
        "to_address": checked(fields.to), "amount_minor": fields.value,
        "gas_limit": fields.gas, "fee_ceiling_wei": fields.cap, "pinned_address": address,
        "data": spent.data, "state": str(State.CANCELLED), "reason": LOST_ROW,
    }  # fmt: skip
    if not taken:
        values |= {
            "state": str(State.IN_REVIEW), "from_address": address, "nonce": fields.nonce,
        }  # fmt: skip
    await repository.insert_intent(session, values)
    batch = await repository.get_intent(session, batch_id)
    await repository.insert_attempt(
        session, intent=batch, seq=1, kind="pay", unsigned=encode_unsigned(fields),
        tip_wei=fields.tip, cap_wei=fields.cap,
    )  # fmt: skip
    await repository.store_signed(
        session, intent_id=batch_id, seq=1, raw=spent.raw, tx_hash=spent.tx.hash
    )
    if not taken:
        await casework.moved(session, batch, previous=State.QUEUED, by=None)
    await _join(desk, session, batch_id, named, receipt)
    log.warning("batch.regained", batch=batch_id, tx_hash=spent.tx.hash, members=len(named))


async def _join(
    desk: Desk, session: AsyncSession, batch_id: str, named: Sequence[Intent], receipt: Receipt
) -> None:
    """To review with the batch that paid them; another batch that was to pay them, and is not
    signed yet, is called off. What has a nonce of its own stays there: nobody may sign it."""
    members = [one for one in named if one.nonce is None]
    each, rest = divmod(receipt.fee_wei, max(len(members), 1))
    for place, member in enumerate(members):
        share = each + (rest if place == 0 else 0)
        joins: dict[str, Any] = {
            "batch_id": batch_id, "reason": LOST_ROW, "gas_fee_wei": share,
        }  # fmt: skip
        if member.state is State.IN_REVIEW:
            await repository.update_intent(session, member.id, joins)
        else:
            await desk.move(session, member.id, State.IN_REVIEW, **joins)
    for one in named:
        if one.nonce is not None:
            await desk.move(session, one.id, State.IN_REVIEW, reason=LOST_ROW)
    percent = desk.chain.network.bump_percent
    for other in sorted({one.batch_id for one in members if one.batch_id is not None}):
        if (await repository.lock_intent(session, other)).state is State.ALLOCATED:
            await request_cancel(session, other, bump_percent=percent)


async def _in_review(session: AsyncSession, network: str, address: str) -> list[str]:
    rows = await session.execute(
        text(
            "SELECT id FROM chain_intents WHERE network = :network AND purpose = ANY(:ours)"
            " AND from_address = :address AND state = 'in_review' AND reason = :lost ORDER BY nonce"
        ),
        {
            "network": network, "ours": [PAYOUT_BATCH, ALLOWANCE], "address": address,
            "lost": LOST_ROW,
        },
    )  # fmt: skip
    return list(rows.scalars())


async def _without_nonce(
    session: AsyncSession, network: str, address: str
) -> list[tuple[str, str]]:
    """Batch and member, of those whose batch has no nonce here."""
    rows = await session.execute(
        text(
            "SELECT b.id, m.id AS member FROM chain_intents m JOIN chain_intents b"
            " ON b.id = m.batch_id WHERE b.network = :network AND b.purpose = :batch"
            " AND b.pinned_address = :address AND b.state = 'cancelled' AND b.reason = :lost"
            " AND m.state = 'in_review' ORDER BY m.id"
        ),
        {"network": network, "batch": PAYOUT_BATCH, "address": address, "lost": LOST_ROW},
    )
    return [(row.id, row.member) for row in rows]


async def _alone(session: AsyncSession, network: str) -> None:
    await session.execute(
        text("UPDATE chain_intents SET alone = true WHERE network = :network AND state = 'queued'"),
        {"network": network},
    )

"""A fork below finality: which block both chains share, and how people decide to follow the other.

The scanner halts the network and books the losses by itself; it follows the other chain only when
one operator proposes it and another one agrees, both looking at the same two blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.client import ChainClient
from wallet.crashpoints import hit
from wallet.db import Database
from wallet.deposits import casework, cold_gas, lineage, losses, repository
from wallet.deposits.lineage import Tip
from wallet.errors import FourEyesRequired, InvalidState, NotFound
from wallet.money import AssetBook
from wallet.onchain import network as networks

WALK_BACK_AT_ONCE = 64
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Fork:
    """The newest block that our lineage and the node share, and the node's next one."""

    network: str
    number: int
    hash: str
    next_hash: str


async def common_ancestor(
    db: Database, chain: ChainClient, *, at_most: int
) -> tuple[int, str] | None:
    """Number and hash of the newest scanned block that the node holds too; None: not one."""
    below = at_most
    while below >= 0:
        async with db.transaction() as session:
            kept = await lineage.kept(
                session, chain.network.name, at_most=below, limit=WALK_BACK_AT_ONCE
            )
        if not kept:
            return None
        refs = await chain.block_refs([number for number, _ in kept])
        for (number, block_hash), ref in zip(kept, refs, strict=True):
            if ref is not None and ref.hash == block_hash:
                return number, block_hash
        below = kept[-1][0] - 1
    return None


async def fork(db: Database, chain: ChainClient) -> Fork:
    """Where the node leaves our lineage below finality.

    Raises InvalidState when it does not, NotFound when nothing was scanned or no scanned block is
    the node's; ChainError.
    """
    name = chain.network.name
    async with db.transaction() as session:
        tip = await lineage.tip(session, name)
    if tip is None:
        raise NotFound("Nothing was scanned on this network.")
    head = await chain.head()
    shared = await common_ancestor(db, chain, at_most=min(tip.number, head.number))
    if shared is None:
        raise NotFound("The node holds none of the blocks that are kept.")
    if shared[0] >= tip.final_number:
        raise InvalidState("The node follows what is final here.", extra={"state": "same_chain"})
    following = await chain.block_ref(shared[0] + 1)
    if following is None or following.parent_hash != shared[1]:
        raise InvalidState("The chain changed while it was read.", extra={"state": "moving"})
    return Fork(name, shared[0], shared[1], following.hash)


async def propose(session: AsyncSession, found: Fork, *, by: str) -> None:
    """Propose to follow the node's chain from there on. A new proposal replaces an old one."""
    await session.execute(
        text(
            "INSERT INTO fork_proposals (network, fork_number, fork_hash, next_hash, proposed_by)"
            " VALUES (:network, :number, :hash, :next, :by) ON CONFLICT (network)"
            " WHERE approved_by IS NULL DO UPDATE SET fork_number = :number, fork_hash = :hash,"
            " next_hash = :next, proposed_by = :by, proposed_at = clock_timestamp()"
        ),
        {
            "network": found.network, "number": found.number, "hash": found.hash,
            "next": found.next_hash, "by": by,
        },
    )  # fmt: skip
    log.warning("fork.proposed", network=found.network, block=found.number, by=by)


async def approve(session: AsyncSession, assets: AssetBook, found: Fork, *, by: str) -> None:
    """Follow it: the lineage goes back to the shared block, losses are booked, the halt ends.

    Raises NotFound (no proposal), FourEyesRequired, InvalidState (the fork is another one by now).
    """
    proposal = await _proposal(session, found.network)
    if proposal.proposed_by == by:
        raise FourEyesRequired("Another operator than the one who proposed it must approve it.")
    told = (proposal.fork_number, proposal.fork_hash, proposal.next_hash)
    if told != (found.number, found.hash, found.next_hash):
        raise InvalidState("The node's chain is another one by now; propose again.",
                           extra={"state": "moved"})  # fmt: skip
    tip = await lineage.tip(session, found.network, lock=True)
    [(number, block_hash)] = await lineage.kept(
        session, found.network, at_most=found.number, limit=1
    )
    if tip is None or (number, block_hash) != (found.number, found.hash):
        raise InvalidState("The lineage has moved; propose again.", extra={"state": "moved"})
    # First of all: the database lets what is final be left by the transaction that holds this only.
    await session.execute(
        text("UPDATE fork_proposals SET approved_by = :by WHERE id = :id"),
        {"by": by, "id": proposal.id},
    )
    await losses.book_losses(session, assets, network=found.network, above=found.number)
    await losses.forget_above(session, found.network, found.number)
    await cold_gas.forget_above(session, found.network, found.number)
    await lineage.rewind(session, found.network, Tip(found.number, found.hash, found.number))
    await session.execute(
        text(
            "UPDATE scan_state SET final_number = :number, final_hash = :hash"
            " WHERE network = :network"
        ),
        {"network": found.network, "number": found.number, "hash": found.hash},
    )
    orphans = await repository.orphan_above(session, found.network, found.number)
    await casework.gone(session, orphans)
    await networks.resume(session, found.network, by=by)
    hit("fork.before_commit_followed")
    log.warning("fork.followed", network=found.network, block=found.number, by=by)


async def _proposal(session: AsyncSession, network: str) -> Any:
    row = (
        await session.execute(
            text(
                "SELECT * FROM fork_proposals WHERE network = :network AND approved_by IS NULL"
                " FOR UPDATE"
            ),
            {"network": network},
        )
    ).one_or_none()
    if row is None:
        raise NotFound("Nobody has proposed to follow another chain.")
    return row

"""What is known of a network now: written by the observer each second, read by everybody else.

`as_of` is real time: how fresh the node's word is has nothing to do with business time.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.blocks import BlockRef
from chain.client import ChainClient, ChainIdentity
from chain.errors import ChainError, FeeCeiling, WrongChain
from chain.factory import ForeignFactory, demand_factory, factory_of
from chain.failover import FailoverRpc
from chain.fees import FeeQuote
from chain.nodes import Disagreement, NodeHealth
from chain.registry import Network
from wallet import cases, clock
from wallet.cases import HOUSE, Kind
from wallet.crashpoints import hit
from wallet.db import Database
from wallet.onchain.differ import DifferWatch
from wallet.onchain.errors import ChainUnavailable

TICK_SECONDS = 1.0
STALE_AFTER_SECONDS = 15.0
CLOSER_SECONDS = 30.0
"""What other nodes say of fees and finality is asked so often."""
CLOSER_WAIT_SECONDS = 2.0
"""Longer no tick waits for that: several answers of a slow node, one after the other, would make
what is known of the network stale."""
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class NetworkStatus:
    """The last word of a network's node. Fees in wei per gas; None while above the ceiling."""

    network: str
    chain_id: int | None
    block1_hash: str | None
    head_number: int | None
    base_fee_wei: int | None
    tip_wei: int | None
    cap_wei: int | None
    as_of: datetime | None
    age_seconds: float | None
    healthy: bool
    detail: str
    snapshot_block: int | None
    snapshot_hash: str | None
    halted_reason: str | None
    factory: str | None

    @property
    def fresh(self) -> bool:
        """Whether the node has spoken lately."""
        # Said long after now: the clock was set back, and nobody knows how old it is.
        return self.age_seconds is not None and abs(self.age_seconds) <= STALE_AFTER_SECONDS

    @property
    def usable(self) -> bool:
        """Whether money may be sent and credited on it."""
        return self.fresh and self.halted_reason is None

    @property
    def too_dear(self) -> bool:
        """Whether it asks more than its `max_fee_wei`: nothing new is sent then."""
        return self.usable and self.detail.startswith(FeeCeiling.code)


async def read(session: AsyncSession, network: str) -> NetworkStatus | None:
    """The stored status, or None before the observer's first word."""
    row = (
        await session.execute(
            text(
                "SELECT *, extract(epoch FROM clock_timestamp() - as_of)::float8 AS age_seconds"
                " FROM network_state WHERE network = :network"
            ),
            {"network": network},
        )
    ).one_or_none()
    return None if row is None else _status(row)


async def require_usable(session: AsyncSession, network: str) -> NetworkStatus:
    """The status of a network that money may be sent on. Raises ChainUnavailable."""
    status = await read(session, network)
    if status is None or not status.fresh:
        raise ChainUnavailable("This network's node is not answering; try again later.")
    if status.halted_reason is not None:
        raise ChainUnavailable("This network is halted for review; nothing is sent on it now.")
    return status


async def require_addresses(session: AsyncSession, network: Network) -> None:
    """Whether an address of this network may be given out: a key-less one is somebody's only where
    its factory is; the observer has asked the one that our file names. Raises ChainUnavailable."""
    if (factory := factory_of(network)) is None:
        return
    status = await read(session, network.name)
    asked = None if status is None or status.as_of is None else status.factory
    if asked != factory:
        raise ChainUnavailable("This network was not looked at yet; try again in a moment.")


async def halt(
    session: AsyncSession, network: str, reason: str, *, evidence: Mapping[str, object]
) -> None:
    """Stop sends and credits on a network until an operator has looked; a case says so.

    The first reason stays.
    """
    done = await session.execute(
        text(
            "INSERT INTO network_state (network, halted_reason, halted_at)"
            " VALUES (:network, :reason, clock_timestamp())"
            " ON CONFLICT (network) DO UPDATE SET halted_reason = :reason,"
            " halted_at = clock_timestamp() WHERE network_state.halted_reason IS NULL RETURNING 1"
        ),
        {"network": network, "reason": reason},
    )
    if done.one_or_none() is None:
        return
    await cases.open_case(
        session,
        kind="network_halted",
        subject=network,
        network=network,
        what=f"Nothing is sent or credited on {network}: {reason}.",
        evidence={"reason": reason, **evidence},
    )
    log.error("network.halted", network=network, reason=reason)


async def resume(session: AsyncSession, network: str, *, by: str) -> bool:
    """Let a halted network go on and close its case. False when it was not halted."""
    done = await session.execute(
        text(
            "UPDATE network_state SET halted_reason = NULL, halted_at = NULL"
            " WHERE network = :network AND halted_reason IS NOT NULL RETURNING 1"
        ),
        {"network": network},
    )
    if done.one_or_none() is None:
        return False
    await cases.close_all(
        session,
        kinds=["network_halted"],
        subjects=[network],
        by=by,
        note="the network was let go on",
    )
    return True


async def write_nodes(session: AsyncSession, network: str, healths: Sequence[NodeHealth]) -> None:
    """Replace what is known of a network's nodes."""
    await session.execute(
        text("DELETE FROM network_nodes WHERE network = :network AND position >= :count"),
        {"network": network, "count": len(healths)},
    )
    await session.execute(
        text(
            "INSERT INTO network_nodes (network, position, state, head_number, detail, at)"
            " VALUES (:network, :position, :state, :head, :detail, clock_timestamp())"
            " ON CONFLICT (network, position) DO UPDATE SET state = excluded.state,"
            " head_number = excluded.head_number, detail = excluded.detail, at = excluded.at"
        ),
        [
            {
                "network": network,
                "position": health.position,
                "state": health.state,
                "head": health.head_number,
                "detail": health.detail,
            }
            for health in healths
        ],
    )


class NetworkObserver:
    """Asks one network's node each second which chain it serves, its head and its fees."""

    def __init__(
        self, db: Database, chain: ChainClient, *, nodes: FailoverRpc | None = None
    ) -> None:
        self._db = db
        self._chain = chain
        self._nodes = nodes
        self._network = chain.network.name
        self._factory_asked = False
        self._too_dear = False
        self._differ = DifferWatch(db, chain.network.name, nodes)
        self._closer_at = -math.inf
        self._closer: asyncio.Task[None] | None = None

    async def tick(self) -> None:
        """Write what the node says now. A node that is away makes the row grow old, no more.

        Nodes that disagree about what is final stop the network until they agree again.
        """
        await self._differ.tick()
        if self._nodes is not None and not await self._look_at_nodes(self._nodes):
            return
        try:
            identity = await self._chain.verify_identity()
            if not self._factory_asked:
                await demand_factory(self._chain)
                self._factory_asked = True
            head = await self._chain.head()
            fees, told, detail = await self._fees()
        except ForeignFactory as error:
            await self._note(f"{error}.", wrong="wrong_chain")
            return
        except WrongChain as error:
            await self._note(
                f"{error}. Use the right node; a sandbox may begin anew by ./dev clean.",
                wrong="wrong_chain",
            )
            return
        except ChainError as error:
            await self._note(f"{error.code}: {error}", wrong=None)
            return
        async with self._db.transaction() as session:
            known = await read(session, self._network)
            pinned = known.block1_hash if known else None
            if pinned is not None and identity.block1_hash != pinned:
                await self._mark(
                    session,
                    "Block 1 of this node is another one. Use the right node; a sandbox"
                    " may begin anew by ./dev clean.",
                    wrong="wrong_chain",
                )
                return
            if known is not None and known.as_of is None:
                await self._right_again(session)
            await self._write(session, identity, head, fees, detail)
            hit("network.before_commit")
        hit("network.after_commit")
        await self._look_closer(told, head)

    async def _look_at_nodes(self, nodes: FailoverRpc) -> bool:
        """Keep how each node stands. False when they contradict each other, or what is known."""
        async with self._db.transaction() as session:
            known = await read(session, self._network)
        if known is not None and known.block1_hash is not None:
            nodes.pin(known.block1_hash)
        try:
            healths = await nodes.probe()
        except Disagreement as error:
            await self._note(
                f"{error}; nothing is sent or credited until they agree.", wrong="nodes_disagree"
            )
            return False
        async with self._db.transaction() as session:
            await write_nodes(session, self._network, healths)
            strange = _none_but_strangers(healths, fresh=known is not None and known.fresh)
            if strange:
                await self._mark(
                    session,
                    f"{strange} another chain id or another block 1 than this network's. Use the"
                    " right nodes; a sandbox may begin anew by ./dev clean.",
                    wrong="wrong_chain",
                )
        return not strange

    async def _fees(self) -> tuple[FeeQuote | None, FeeQuote, str]:
        """What to pay, unless it is above the ceiling; what the node told; and why not."""
        fees, detail = None, ""
        try:
            told = fees = await self._chain.fees()
        except FeeCeiling as error:
            told = FeeQuote(error.base_fee_wei, error.tip_wei, error.needed_wei)
            detail = f"{error.code}: {error}"
            if not self._too_dear:
                log.warning("network.too_dear", network=self._network, detail=detail)
        self._too_dear = fees is None
        others = 0 if self._nodes is None else self._nodes.base_fee()
        if others > 2 * told.base_fee:
            log.error("node.fees_differ", network=self._network, wei=told.base_fee, others=others)
        return fees, told, detail

    async def _look_closer(self, told: FeeQuote, head: BlockRef) -> None:
        """Now and then, behind what is written; what takes long goes on beside the next ticks."""
        if self._closer is None:
            if self._nodes is None or clock.steady() - self._closer_at < CLOSER_SECONDS:
                return
            self._closer_at = clock.steady()
            self._closer = asyncio.create_task(self._ask_others(self._nodes, told, head))
        await asyncio.wait({self._closer}, timeout=CLOSER_WAIT_SECONDS)
        if self._closer.done():
            done, self._closer = self._closer, None
            done.result()

    async def _ask_others(self, nodes: FailoverRpc, told: FeeQuote, head: BlockRef) -> None:
        try:
            await nodes.look_closer(told, await self._chain.final_number(head))
        except ChainError as error:
            log.warning("network.unhealthy", network=self._network, detail=error.code)

    async def _write(
        self,
        session: AsyncSession,
        identity: ChainIdentity,
        head: BlockRef,
        fees: FeeQuote | None,
        detail: str,
    ) -> None:
        await session.execute(
            text(
                "INSERT INTO network_state (network, chain_id, block1_hash, head_number, head_hash,"
                " head_time, base_fee_wei, tip_wei, cap_wei, as_of, healthy, detail, factory)"
                " VALUES (:network, :chain_id, :block1, :number, :hash, :time, :base_fee, :tip,"
                " :cap, clock_timestamp(), :healthy, :detail, :factory)"
                " ON CONFLICT (network) DO UPDATE SET chain_id = excluded.chain_id,"
                " block1_hash = coalesce(network_state.block1_hash, excluded.block1_hash),"
                " head_number = excluded.head_number, head_hash = excluded.head_hash,"
                " head_time = excluded.head_time, base_fee_wei = excluded.base_fee_wei,"
                " tip_wei = excluded.tip_wei, cap_wei = excluded.cap_wei, as_of = excluded.as_of,"
                " healthy = excluded.healthy AND network_state.halted_reason IS NULL,"
                " detail = excluded.detail, factory = excluded.factory"
            ),
            {
                "network": self._network,
                "factory": factory_of(self._chain.network),
                "chain_id": identity.chain_id,
                "block1": identity.block1_hash,
                "number": head.number,
                "hash": head.hash,
                "time": datetime.fromtimestamp(head.timestamp, UTC),
                "base_fee": fees.base_fee if fees else head.base_fee,
                "tip": fees.tip if fees else None,
                "cap": fees.cap if fees else None,
                "healthy": fees is not None,
                "detail": detail,
            },
        )

    async def _note(self, detail: str, *, wrong: Kind | None) -> None:
        async with self._db.transaction() as session:
            await self._mark(session, detail, wrong=wrong)

    async def _mark(self, session: AsyncSession, detail: str, *, wrong: Kind | None) -> None:
        """Not healthy. Another chain counts as silence at once and is a case; a node that is away
        gets 15 s."""
        log.warning("network.unhealthy", network=self._network, detail=detail)
        await session.execute(
            text(
                "INSERT INTO network_state (network, healthy, detail)"
                " VALUES (:network, false, :detail) ON CONFLICT (network) DO UPDATE SET"
                " healthy = false, detail = :detail,"
                " as_of = CASE WHEN :wrong THEN NULL ELSE network_state.as_of END"
            ),
            {"network": self._network, "detail": detail[:500], "wrong": wrong is not None},
        )
        if wrong is not None:
            await cases.open_case(
                session,
                kind=wrong,
                subject=self._network,
                network=self._network,
                what=f"Nothing is sent or credited on {self._network}. {detail[:500]}",
            )

    async def _right_again(self, session: AsyncSession) -> None:
        """The node serves our chain again, and no other node contradicts it."""
        await cases.close_all(
            session,
            kinds=["wrong_chain", "nodes_disagree"],
            subjects=[self._network],
            by=HOUSE,
            note="the nodes serve the known chain again",
        )


def _none_but_strangers(healths: Sequence[NodeHealth], *, fresh: bool) -> str:
    """Who serves another chain, where nobody serves ours; else nothing. Whoever is away may be of
    ours and answer again in a moment: that long nothing is said (`fresh`)."""
    strangers = [f"node {one.position + 1}" for one in healths if one.state == "wrong_chain"]
    away = [one for one in healths if one.state == "away"]
    if not strangers or len(strangers) + len(away) < len(healths) or (away and fresh):
        return ""
    return f"{' and '.join(strangers)} {'serves' if len(strangers) == 1 else 'serve'}"


def _status(row: Any) -> NetworkStatus:
    def number(value: Any) -> int | None:
        return None if value is None else int(value)

    return NetworkStatus(
        network=row.network,
        chain_id=row.chain_id,
        block1_hash=row.block1_hash,
        head_number=row.head_number,
        base_fee_wei=number(row.base_fee_wei),
        tip_wei=number(row.tip_wei),
        cap_wei=number(row.cap_wei),
        as_of=row.as_of,
        age_seconds=row.age_seconds,
        healthy=row.healthy,
        detail=row.detail,
        snapshot_block=row.snapshot_block,
        snapshot_hash=row.snapshot_hash,
        halted_reason=row.halted_reason,
        factory=row.factory,
    )

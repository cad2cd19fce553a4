"""Watches how much lies hot: proposes when a bound is crossed, empties the hot addresses when told.

An evacuation is for the day a hot key may be in other hands: the network is frozen, everything the
hot addresses hold goes to a cold address of the house, and they never sign again; a standby address
takes their place. What lies warm goes by `wallet.treasury.evacuate`, with operators' signatures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import text

from chain.balances import no_more
from chain.client import ChainClient
from chain.errors import (
    ChainError,
    FeeCeiling,
    NodeGarbage,
    NodeRejected,
    NodeTimeout,
    NodeUnavailable,
    TooMuchGas,
)
from chain.fee_models import beside_gas, gas_limit
from chain.fees import least_cap
from chain.rpc import Rpc
from wallet import clock
from wallet.crashpoints import hit
from wallet.db import Database
from wallet.errors import InvalidState
from wallet.ids import new_id
from wallet.money import AssetBook, Money
from wallet.onchain import network as networks
from wallet.onchain import signers
from wallet.onchain.desk import leadership
from wallet.onchain.freeze import end_evacuation, frozen
from wallet.onchain.intents import end_queued
from wallet.onchain.prepare import estimate_gas
from wallet.onchain.states import State
from wallet.treasury import casework, hot
from wallet.treasury.moves import HOUSE, Move, bound, evacuate, its_code_fails
from wallet.treasury.proposals import Proposals

TICK_SECONDS = 3.0
STANDBY, COMPROMISED = hot.STANDBY, hot.COMPROMISED
ANEW = "promised_anew"
REVERTS = 2
"""Transactions of a token that failed though every call had gone: it keeps the coins no longer."""
GAS_SECONDS = 900.0
"""So long after the order somebody may send coins for the gas of tokens whose address has none:
else a thief who leaves some of a token there keeps the network frozen."""
UNKNOWN = -1
"""In place of a balance at which the node breaks, for now."""
LAPSE_SECONDS = 600.0
"""Where a node was not seen to break at a token for so long, it begins to break anew."""
COMING_SECONDS = 3_600.0
"""So long after the order what is on its way to an address that is emptied is waited for."""
BREAKS = (NodeRejected, NodeGarbage, NodeTimeout, NodeUnavailable)
"""What a token that is tried out may end in, or the node that tries it."""
log = structlog.get_logger(__name__)


class TreasuryWatch:
    """One network's float."""

    def __init__(self, db: Database, chain: ChainClient, assets: AssetBook) -> None:
        self._db = db
        self._chain = chain
        self._assets = assets
        self._name = chain.network.name
        self._breaks: dict[tuple[str, str, str], tuple[float, float]] = {}

    async def tick(self) -> None:
        """One look. Safe to repeat."""
        async with leadership(self._db, f"treasury/{self._name}") as mine:
            if not mine:
                return
            async with self._db.transaction() as session:
                freeze = await frozen(session, self._name)
                status = await networks.read(session, self._name)
                if freeze is None:
                    await Proposals(session, self._chain.network, self._assets).look()
            if freeze is None or freeze.evacuate_to is None:
                return
            if status is None or not status.usable:
                return
            try:
                await self._evacuate(freeze.evacuate_to)
            except (ChainError, FeeCeiling, InvalidState) as error:
                log.warning("treasury.waits", network=self._name, error=error.code)

    async def _evacuate(self, cold: str) -> None:
        """Tokens first, the coin last, by a transfer that leaves nothing over (on `op` chains: what
        the data fee, which nobody knows beforehand, does not take of twice its estimate).

        What the signer has refused waits for a person (`casework`), and the address is not empty:
        its coins stay beside it, for they are the gas of the next try.
        """
        chain, native = self._chain, self._chain.network.native_asset
        async with self._db.transaction() as session:
            lanes = await hot.to_empty(session, self._name)
            compared = await signers.were_compared(session, self._name)
        known = [one for one in lanes if await self._known(one)]
        head = await chain.head()
        left = len(lanes) - len(known)
        for address in known:
            if compared:  # else it may have left: these books may be an old copy
                await self._take_back(address, head.number)
            open_count = await self._open(address)
            left += open_count
            waiting = open_count
            for token in chain.network.tokens:
                held = await self._said(address, token.code, head.number)
                if held is None:
                    log.error("treasury.token_stays", network=self._name, address=address,
                              asset=token.code, error="says nothing")  # fmt: skip
                if not held:
                    continue
                # A token that will not go keeps nothing else back; one that may still go does.
                if (
                    held == UNKNOWN
                    or open_count
                    or await self._held_back(address, token.code)
                    or await self._went(address, token.code, held, cold)
                ):
                    waiting += 1
                    left += 1
            if waiting:
                continue
            [coins] = await chain.balances([address], native, head.number)
            if not coins:
                continue  # geth tries out no payment of more than lies there
            fees = await chain.fees()
            price = min(fees.cap, chain.network.max_fee_wei)
            gas = gas_limit(
                await chain.estimate_gas(address, cold, 1, b""), chain.network.fee_model
            )
            fee = gas * price + await beside_gas(
                chain, asset=native, to=cold, amount_minor=coins, gas=gas, cap=price
            )
            if coins > fee:
                if not await self._held_back(address, native):
                    await self._send(address, native, coins - fee, cold, exact=(gas, price))
                left += 1
        if left == 0 and lanes and not await self._coming(lanes) and await self._empty(lanes):
            await self._rotate(lanes)

    async def _known(self, address: str) -> bool:
        """Whether it is known as a signer, by now; one that is not keeps no other from being
        emptied."""
        try:
            await hot.introduce(self._db, self._chain, address)
        except InvalidState as error:
            log.warning("treasury.waits", network=self._name, address=address, why=error.detail)
            return False
        return True

    async def _went(self, address: str, asset: str, held: int, cold: str) -> bool:
        """Whether it may still go, promised now or not; a token that refuses (paused, address
        barred), or that reverted where no node had said so, is left where it is, with its name in
        the log. What may be the node's is tried for a while."""
        if await self._reverted(address, asset) >= REVERTS:
            log.error("treasury.token_stays", network=self._name, address=address, asset=asset,
                      error="reverts")  # fmt: skip
            return False
        try:
            if await self._no_gas(address, asset, held, cold):
                log.error("treasury.token_stays", network=self._name, address=address, asset=asset,
                          error="no coins for its gas")  # fmt: skip
                return False
            await self._send(address, asset, held, cold)
        except BREAKS as error:
            await self._chain.head()  # a node that is away says nothing of the token
            why = str(error)[:200]
            if (
                not its_code_fails(error) or await self._goes_elsewhere(address, asset, held, cold)
            ) and not self._breaks_long((address, asset, "move")):
                log.warning("treasury.token_waits", network=self._name, address=address,
                            asset=asset, error=why)  # fmt: skip
                return True
            log.error("treasury.token_stays", network=self._name, address=address, asset=asset,
                      error=why)  # fmt: skip
            return False
        self._breaks.pop((address, asset, "move"), None)
        return True

    async def _goes_elsewhere(self, address: str, asset: str, held: int, cold: str) -> bool:
        """Whether that the token refuses is one node's word, and another one (of three and more:
        half of all) would let it go."""
        rpc, network = self._chain.rpc, self._chain.network
        each, weigh = getattr(rpc, "each", None), getattr(rpc, "same", None)
        if each is None or weigh is None:
            return False

        async def goes(other: Rpc) -> int:
            try:
                await estimate_gas(
                    ChainClient(network, other), sender=address, asset=asset, to_address=cold,
                    amount_minor=held,
                )  # fmt: skip
            except (NodeRejected, TooMuchGas) as error:
                if its_code_fails(error):
                    return 0
                raise
            return 1

        return not weigh(f"transfers/{address}/{asset}", 0, await each(goes))

    async def _said(self, address: str, asset: str, number: int) -> int | None:
        """What lies there; None where its token says nothing, or the node has broken at it for
        long, and until then UNKNOWN. Raises ChainError where the node is away."""
        asked = (address, asset, "balance")
        try:
            held = await self._chain.said(address, asset, number)
        except (NodeGarbage, NodeTimeout, NodeUnavailable):
            await self._chain.head()
            return None if self._breaks_long(asked) else UNKNOWN
        self._breaks.pop(asked, None)
        return held

    def _breaks_long(self, asked: tuple[str, str, str]) -> bool:
        now = clock.steady()
        since, last = self._breaks.get(asked, (now, now))
        if now - last >= LAPSE_SECONDS:  # the node was away, or another worker looked
            since = now
        self._breaks[asked] = since, now
        return now - since >= GAS_SECONDS

    async def _has_gas(self, address: str, move: Any) -> bool:
        """Whether a token that waits for gas still goes once it has some. Where it cannot be tried
        out any more (its issuer has barred the address meanwhile) it is promised anew, or seen
        why not: it ends no pass."""
        try:
            return not await self._no_gas(
                address, move.asset, int(move.amount_minor), move.to_address
            )
        except BREAKS:
            await self._chain.head()  # a node that is away says nothing of the token
            return False

    async def _no_gas(self, address: str, asset: str, held: int, cold: str) -> bool:
        """Whether it has no coins for the gas of this move, and had time to be given some."""
        if not await self._ordered_long_ago():
            return False
        gas, ceiling = await bound(
            self._chain, sender=address, to=cold, money=Money(held, self._assets.get(asset))
        )
        native, head = self._chain.network.native_asset, await self._chain.head()
        [coins] = await self._chain.balances([address], native, head.number)
        return coins < gas * min((await self._chain.fees()).cap, ceiling)

    async def _ordered_long_ago(self) -> bool:
        async with self._db.transaction() as session:
            return bool(
                await session.scalar(
                    text(
                        "SELECT at < clock_timestamp() - make_interval(secs => :seconds)"
                        " FROM network_freezes WHERE network = :network"
                    ),
                    {"network": self._name, "seconds": GAS_SECONDS},
                )
            )

    async def _reverted(self, address: str, asset: str) -> int:
        """How often its own transaction failed on the chain in evacuations of this address."""
        async with self._db.transaction() as session:
            return int(
                await session.scalar(
                    text(
                        "SELECT count(*) FROM treasury_moves m JOIN chain_intents i"
                        " ON i.id = m.intent_id WHERE m.network = :network AND m.kind = 'evacuate'"
                        " AND m.asset = :asset AND i.pinned_address = :address"
                        " AND i.state = 'final_reverted'"
                    ),
                    {"network": self._name, "asset": asset, "address": address},
                )
                or 0
            )

    async def _take_back(self, address: str, number: int) -> None:
        """End what was promised and cannot leave as it was: of more than lies there any more (who
        has the key spends, too), or at fees of a cheaper hour. It is promised anew."""
        chain, native = self._chain, self._chain.network.native_asset
        for row in await self._waiting(address):
            if row.waiting_for == "fees":
                fees = await chain.fees()
                goes = least_cap(fees.base_fee, fees.tip) <= row.fee_ceiling_wei
            elif row.waiting_for == "chain":
                goes = False  # for so long it cannot be tried out: it is seen why
            else:
                held = await self._said(address, row.asset, number)
                if held == UNKNOWN:
                    continue
                gas = row.gas_limit * row.fee_ceiling_wei if row.asset == native else 0
                goes = held is not None and row.amount_minor + gas <= held
                if goes and row.asset != native:
                    goes = await self._has_gas(address, row)
            if goes:
                continue
            async with self._db.transaction() as session:
                ended = await end_queued(session, row.intent_id, State.FAILED, reason=ANEW)
                if ended is None:  # else it has a nonce by now, or somebody was faster
                    await session.execute(
                        text(
                            "UPDATE treasury_moves SET state = 'failed', reason = :reason,"
                            " ended_at = clock_timestamp() WHERE id = :id"
                        ),
                        {"id": row.id, "reason": ANEW},
                    )
            log.warning("treasury.promised_anew", network=self._name, move=row.id)

    async def _waiting(self, address: str) -> Sequence[Any]:
        """Moves of an evacuation that wait for float, for fees or long for the node, and have no
        nonce."""
        async with self._db.transaction() as session:
            rows = await session.execute(
                text(
                    "SELECT m.id, m.intent_id, m.to_address, i.waiting_for, i.asset, i.gas_limit,"
                    " i.amount_minor, i.fee_ceiling_wei FROM treasury_moves m"
                    " JOIN chain_intents i ON i.id = m.intent_id"
                    " WHERE m.network = :network AND m.kind = 'evacuate' AND m.state = 'approved'"
                    " AND i.pinned_address = :address AND i.state = 'queued'"
                    " AND (i.waiting_for IN ('liquidity', 'fees') OR (i.waiting_for = 'chain'"
                    "  AND m.created_at < clock_timestamp() - make_interval(secs => :seconds)))"
                    " ORDER BY m.id"
                ),
                {"network": self._name, "address": address, "seconds": GAS_SECONDS},
            )
            return rows.all()

    async def _held_back(self, address: str, asset: str) -> bool:
        async with self._db.transaction() as session:
            about = casework.about(self._name, asset, "evacuate", address)
            return await casework.held_back(session, about)

    async def _open(self, address: str) -> int:
        """How much is under way there. What was approved before and has no nonce gets none
        (`freeze.lets_go`), and is not waited for."""
        async with self._db.transaction() as session:
            return int(
                await session.scalar(
                    text(
                        "SELECT count(*) FROM chain_intents i WHERE network = :network"
                        " AND (from_address = :address OR (pinned_address = :address"
                        "  AND state = 'queued' AND EXISTS (SELECT FROM treasury_moves m"
                        "   WHERE m.intent_id = i.id AND m.kind = 'evacuate')))"
                        " AND state IN ('queued', 'allocated', 'signed', 'sent', 'mined')"
                    ),
                    {"network": self._name, "address": address},
                )
                or 0
            )

    async def _empty(self, lanes: Sequence[str]) -> bool:
        """Whether nothing more is left there by no single node's word, where there are several:
        what is left when they are given up stays with whoever has their keys."""
        chain, head = self._chain, await self._chain.head()
        for address in lanes:
            for asset in (chain.network.native_asset, *(one.code for one in chain.network.tokens)):
                held = await self._said(address, asset, head.number)
                if held == UNKNOWN:
                    return False
                if not await no_more(chain.rpc, chain.network, address, asset, held or 0):
                    log.error("node.balances_differ", network=self._name, address=address,
                              asset=asset)  # fmt: skip
                    return False
        return True

    async def _coming(self, lanes: Sequence[str]) -> bool:
        """Whether the house's own payments to these were signed and have not ended: what they bring
        goes, too, since nothing does once they are given up. Not for ever: one may be stuck."""
        async with self._db.transaction() as session:
            coming = await session.scalar(
                text(
                    "SELECT count(*) FROM chain_intents i LEFT JOIN sweeps s ON s.intent_id = i.id"
                    " JOIN network_freezes f ON f.network = i.network WHERE i.network = :network"
                    " AND i.state IN ('allocated', 'signed', 'sent', 'mined')"
                    " AND (i.to_address = ANY(:lanes) OR s.treasury = ANY(:lanes))"
                    " AND f.at > clock_timestamp() - make_interval(secs => :seconds)"
                ),
                {"network": self._name, "lanes": list(lanes), "seconds": COMING_SECONDS},
            )
        if coming:
            log.warning("treasury.coming", network=self._name, payments=int(coming))
        return bool(coming)

    async def _send(
        self,
        address: str,
        asset: str,
        minor: int,
        cold: str,
        *,
        exact: tuple[int, int] | None = None,
    ) -> None:
        money = Money(minor, self._assets.get(asset))
        move = Move(new_id("tre"), self._name, money, "evacuate", cold, "approved", HOUSE, None)
        async with self._db.transaction() as session:
            freeze = await frozen(session, self._name)
            if freeze is None or freeze.evacuate_to != cold:
                return
            by = await session.scalar(
                text("SELECT by_whom FROM network_freezes WHERE network = :network"),
                {"network": self._name},
            )
            await evacuate(
                session, move, chain=self._chain, sender=address, by=str(by), exact=exact
            )
            hit("treasury.before_commit")
        log.warning("treasury.evacuating", network=self._name, address=address, asset=asset)

    async def _rotate(self, lanes: list[str]) -> None:
        """The emptied addresses give no more nonces; those on standby take their place, and with it
        the evacuation ends: the network stays frozen, but the new ones are not emptied in turn."""
        async with self._db.transaction() as session:
            for address in lanes:
                await signers.halt_signer(
                    session, network=self._name, address=address, reason=COMPROMISED
                )
            # Before it ends: the database lets them go on while an operator's order stands (r0035).
            for row in await signers.all_signers(session, self._name):
                if row.halted_reason == STANDBY:
                    await signers.resume_signer(session, network=self._name, address=row.address)
                    log.warning("treasury.rotated", network=self._name, address=row.address)
            await end_evacuation(session, self._name)

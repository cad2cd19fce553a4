"""Value that arrived without a transfer we can see, found by balances at a final block.

Coins paid inside a contract, by a self-destruct or as a block reward have no transaction to the
address; coins at an address that was given out for another network, or not given out at all, are
not scanned, nor is a token while it is not listed. All of that shows as a balance above what the
deposits explain. It is booked at once against `unattributed`, so that books and chain agree, and
waits for an operator (`arrivals`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.client import ChainClient
from chain.errors import ChainError, NodeTimeout, NodeUnavailable
from wallet import cases, ledger
from wallet.crashpoints import hit
from wallet.custody.addresses import Deriver
from wallet.db import Database
from wallet.deposits import lineage, losses
from wallet.deposits.explained import (
    NOT_ONE,
    Final,
    explained,
    final_block,
    moving_out,
    still_stands,
)
from wallet.deposits.lineage import Tip
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.money import AssetBook, Money
from wallet.onchain import tokens

TICK_SECONDS = 15.0
ADDRESSES_PER_TICK = 2_000
AHEAD = 20
"""Addresses of our seed watched beyond those given out: BIP-44's gap limit."""
FOUND_AT_ONCE = 20
"""Addresses where more lies of one asset than is known, in one look: a token that tells of balances
without end fills no books before somebody halts it."""
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Round:
    """A way through addresses, share by share; `count`: how often all of them were looked at."""

    after: str = ""
    count: int = 0

    def went(self, page: Sequence[str]) -> None:
        """The next share begins after this one; behind the last, with the first one again."""
        self.after = page[-1] if len(page) == ADDRESSES_PER_TICK else ""
        self.count += not self.after


class SurplusFinder:
    """Compares balances of our addresses on one network with what arrived, some at a time."""

    def __init__(
        self, db: Database, chain: ChainClient, assets: AssetBook, deriver: Deriver
    ) -> None:
        self._db = db
        self._chain = chain
        self._assets = assets
        self._deriver = deriver
        self._network = chain.network.name
        self._issued, self._elsewhere = _Round(), _Round()
        self._ahead: tuple[int, list[str]] = (-1, [])

    async def tick(self) -> None:
        """One share of the addresses, at the newest final block. Safe to repeat."""
        async with self._db.transaction() as session:
            final = await final_block(session, self._network)
            stopped = await tokens.halted(session, self._network)
            issued = await _share(session, self._network, self._issued, elsewhere=False)
            others = await _share(session, self._network, self._elsewhere, elsewhere=True)
            ahead = await self._next_ones(session)
        listed = [token.code for token in self._chain.network.tokens if token.code not in stopped]
        native = self._chain.network.native_asset
        # Tokens come to watched addresses by their logs, but for those that came before the address
        # was watched or the token listed: one of them for each round through the addresses.
        looks = []
        for way, page in ((self._issued, issued), (self._elsewhere, others)):
            turn = listed[way.count % len(listed)] if listed else native
            looks += [(code, page) for code in dict.fromkeys((native, turn))]
            way.went(page)
        if final is None:
            return
        for code, addresses in [*looks, *((code, ahead) for code in (native, *listed))]:
            try:
                await self._compare(final, code, addresses)
            except (NodeUnavailable, NodeTimeout) as error:
                log.warning("node.away", network=self._network, error=error.code)
                return
            except ChainError as error:  # a token that says nothing hides no other's coins
                log.warning("surplus.not_read", network=self._network, asset=code, error=error.code)

    async def _next_ones(self, session: AsyncSession) -> list[str]:
        """The addresses that are given out next, on whatever network."""
        first = int(
            await session.scalar(
                text("SELECT coalesce(max(derivation_index), -1) + 1 FROM deposit_addresses")
            )
            or 0
        )
        if self._ahead[0] != first:
            ahead = [self._deriver.address(index) for index in range(first, first + AHEAD)]
            self._ahead = (first, ahead)
        return self._ahead[1]

    async def _compare(self, final: Final, asset: str, addresses: Sequence[str]) -> None:
        if not addresses:
            return
        balances = await self._chain.balances(addresses, asset, final.number)
        ref = await self._chain.block_ref(final.number)
        if ref is None or ref.hash != final.hash:
            return  # the node is on another fork: its balances say nothing here
        async with self._db.transaction() as session:
            known = await explained(session, self._network, asset, addresses, final.number)
            sure = known
            if asset != self._chain.network.native_asset:  # a log alone is no token that came
                sure = await explained(
                    session, self._network, asset, addresses, final.number, doubted=NOT_ONE
                )
            moving = await moving_out(session, self._network, addresses)
        held = {a: b for a, b in zip(addresses, balances, strict=True) if a not in moving}
        more = [address for address in held if held[address] > known.get(address, 0)]
        for address in more[:FOUND_AT_ONCE]:
            await self._settle(final, asset, address, held[address])
        for address in held:
            missing = sure.get(address, 0) - held[address]
            if missing > 0:
                await self._missing(final, asset, address, missing)

    async def _missing(self, final: Final, asset: str, address: str, minor: int) -> None:
        """Less lies there than arrived, and no sweep of ours took it."""
        log.error(
            "deposit.shortfall", network=self._network, address=address, asset=asset,
            minor=-minor, block=final.number,
        )  # fmt: skip
        async with self._db.transaction() as session:
            await cases.open_case(
                session,
                kind="deposit_shortfall",
                subject=f"{self._network}/{address}/{asset}",
                network=self._network,
                asset=asset,
                what=f"{Money(minor, self._assets.get(asset))} left {address} on {self._network}"
                " and we did not move it: somebody else may hold the deposit keys.",
                evidence={
                    "address": address, "missing_minor": str(minor), "block_number": final.number,
                },
            )  # fmt: skip

    async def _settle(self, final: Final, asset: str, address: str, balance: int) -> None:
        """Book it only where it lies at the newest scanned block still: what somebody else swept
        before the address was known to hold it did not count as a move, and never will."""
        async with self._db.transaction() as session:
            tip = await lineage.tip(session, self._network)
        if tip is None:
            return
        [now] = await self._chain.balances([address], asset, tip.number)
        ref = await self._chain.block_ref(tip.number)
        if ref is not None and ref.hash == tip.hash and now >= balance:
            await self._keep(final, tip, asset, address, balance)

    async def _keep(self, final: Final, tip: Tip, asset: str, address: str, balance: int) -> None:
        """Book what is unexplained, looking again under the scanner's lock."""
        async with self._db.transaction() as session:
            stands = await lineage.tip(session, self._network, lock=True)
            if stands is None or (stands.number, stands.hash) != (tip.number, tip.hash):
                return  # the next look sees what the newer blocks brought
            known = await explained(session, self._network, asset, [address], final.number)
            minor = balance - known.get(address, 0)
            if await moving_out(session, self._network, [address]):
                return
            if minor <= 0 or not await still_stands(session, self._network, final):
                return
            if minor > self._assets.get(asset).max_minor:
                # No arrival: the token lies, and sums of such words would break the books.
                log.error("surplus.too_large", network=self._network, address=address, asset=asset)
                return
            again = await losses.found_again(
                session, self._network, asset, address, minor, final.number, final.hash
            )
            if again is None:
                await self._book(session, final, asset, address, minor)
            hit("surplus.before_commit")
        hit("surplus.after_commit")
        log.warning(
            "deposit.unattributed" if again is None else "deposit.found_again",
            network=self._network, address=address, asset=asset, block=final.number, loss=again,
        )  # fmt: skip

    async def _book(
        self, session: AsyncSession, final: Final, asset: str, address: str, minor: int
    ) -> None:
        arrival_id, money = new_id("una"), Money(minor, self._assets.get(asset))
        entry_id = await ledger.post(
            session,
            ledger.Command(
                kind="unattributed",
                ref=arrival_id,
                event_at=final.time,
                meta={"network": self._network, "address": address, "block": final.number},
                lines=[
                    ledger.Line(
                        accounts.on_chain(self._network, asset, "deposit"),
                        Money(-minor, money.asset),
                    ),
                    ledger.Line(accounts.unattributed(self._network, asset), money),
                ],
            ),
        )
        await session.execute(
            text(
                "INSERT INTO unattributed_arrivals (id, network, address, asset, amount_minor,"
                " at_block, block_hash, block_time, entry_id) VALUES (:id, :network, :address,"
                " :asset, :minor, :block, :hash, :time, :entry)"
            ),
            {
                "id": arrival_id, "network": self._network, "address": address, "asset": asset,
                "minor": minor, "block": final.number, "hash": final.hash, "time": final.time,
                "entry": entry_id,
            },
        )  # fmt: skip
        await cases.open_case(
            session,
            kind="deposit_unattributed",
            subject=arrival_id,
            network=self._network,
            asset=asset,
            what=f"{money} lies at {address} on {self._network} and no transfer explains it.",
            evidence={
                "address": address, "amount_minor": str(minor), "block_number": final.number,
            },
        )  # fmt: skip


async def unscanned_addresses(session: AsyncSession, network: str) -> list[str]:
    """Addresses where something was found that the network's scanner does not watch."""
    rows = await session.execute(
        text(
            "SELECT DISTINCT a.address FROM unattributed_arrivals a WHERE a.network = :network"
            " AND NOT EXISTS (SELECT FROM deposit_addresses d WHERE d.address = a.address"
            "  AND d.network = a.network)"
        ),
        {"network": network},
    )
    return list(rows.scalars())


async def _share(session: AsyncSession, network: str, way: _Round, *, elsewhere: bool) -> list[str]:
    """The next ones of this network, or of all others: the scanner does not watch those here."""
    rows = await session.execute(
        text(
            f"SELECT address FROM deposit_addresses WHERE network {'<>' if elsewhere else '='}"
            " :network AND address > :after ORDER BY address LIMIT :limit"
        ),
        {"network": network, "after": way.after, "limit": ADDRESSES_PER_TICK},
    )
    return list(rows.scalars())

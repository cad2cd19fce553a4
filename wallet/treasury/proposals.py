"""What brings a tier back to the middle between its bounds: proposed once, for people to decide.

Hot above its bound goes to warm while warm has room below its own, else to cold. Hot below is
filled from warm when warm holds all of it, else by a sheet from cold. Warm above goes to cold, warm
below is filled by a sheet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.fee_models import PLAIN_GAS
from chain.registry import Network
from wallet import custody, ledger
from wallet.errors import InvalidState
from wallet.ledger import accounts
from wallet.money import AssetBook, Money
from wallet.treasury import casework, hot
from wallet.treasury.moves import HOUSE, propose
from wallet.treasury.routes import Kind, on_its_way, source, target

Bounded = Literal["hot", "warm"]
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Float:
    """What lies in a tier, approved moves included, and how much should; minor units."""

    held: int
    low: int
    high: int

    @property
    def above(self) -> int:
        """Above the middle of its bounds; below it this is negative."""
        return self.held - (self.low + self.high) // 2


class Proposals:
    """One look at one network, in the caller's transaction."""

    def __init__(self, session: AsyncSession, network: Network, assets: AssetBook) -> None:
        self._session = session
        self._network = network
        self._assets = assets

    async def look(self) -> None:
        """Propose what is due; what is open already, or was refused, waits for a person."""
        house = await custody.house_addresses(self._session, network=self._network.name)
        cold = next((a for a, place in sorted(house.items()) if place == "cold"), None)
        warm_address = await custody.warm_address(self._session, network=self._network.name)
        floats = await self._floats()
        for asset in sorted({asset for asset, _ in floats}):
            warm = None if warm_address is None else floats.get((asset, "warm"))
            if (asset, "hot") in floats:
                await self._hot(asset, floats[asset, "hot"], warm, warm_address, cold)
            if warm is not None:
                await self._warm(asset, warm, cold)

    async def _floats(self) -> dict[tuple[str, Bounded], Float]:
        rows = await self._session.execute(
            text(
                "SELECT asset, tier, low_minor, high_minor FROM float_bounds"
                " WHERE network = :network"
            ),
            {"network": self._network.name},
        )
        return {
            (row.asset, row.tier): Float(
                await self._held(row.asset, row.tier), int(row.low_minor), int(row.high_minor)
            )
            for row in rows.all()
        }

    async def _held(self, asset: str, tier: Bounded) -> int:
        name = self._network.name
        booked = await ledger.balance_of(self._session, accounts.on_chain(name, asset, tier))
        return booked + await on_its_way(self._session, network=name, asset=asset, tier=tier)

    async def _hot(
        self, asset: str, it: Float, warm: Float | None, warm_address: str | None, cold: str | None
    ) -> None:
        if it.held > it.high:
            room = 0 if warm is None else warm.high - warm.held
            if room > 0 and not await self._held_back(asset, "to_warm"):
                await casework.cold_or_within(
                    self._session, network=self._network.name, asset=asset, tier="hot"
                )
                await self._once(min(it.above, room), asset, "to_warm", warm_address)
            else:
                await self._to_cold(asset, it, cold, "hot", "to_cold")
            return
        await casework.cold_or_within(
            self._session, network=self._network.name, asset=asset, tier="hot"
        )
        if it.held < it.low:
            to = None if warm is None else await hot.working(self._session, self._network.name)
            enough = warm is not None and warm.held >= self._gas_of_one(asset) - it.above
            if to is not None and enough and not await self._held_back(asset, "to_hot"):
                await self._once(-it.above, asset, "to_hot", to)
            else:
                await self._once(-it.above, asset, "refill", None)

    async def _warm(self, asset: str, it: Float, cold: str | None) -> None:
        if it.held > it.high:
            await self._to_cold(asset, it, cold, "warm", "warm_to_cold")
            return
        await casework.cold_or_within(
            self._session, network=self._network.name, asset=asset, tier="warm"
        )
        if it.held < it.low:
            await self._once(-it.above, asset, "refill_warm", None)

    async def _to_cold(
        self, asset: str, it: Float, cold: str | None, tier: Bounded, kind: Kind
    ) -> None:
        name = self._network.name
        if cold is None:
            above = Money(it.above, self._assets.get(asset))
            await casework.no_cold(self._session, network=name, above=above, tier=tier)
            return
        await casework.cold_or_within(self._session, network=name, asset=asset, tier=tier)
        if not await self._held_back(asset, kind):
            await self._once(it.above, asset, kind, cold)

    def _gas_of_one(self, asset: str) -> int:
        """What a payment of the coin needs beside it, at most."""
        native = asset == self._network.native_asset
        return PLAIN_GAS * self._network.max_fee_wei if native else 0

    async def _held_back(self, asset: str, kind: Kind) -> bool:
        about = casework.about(self._network.name, asset, kind, None)
        return await casework.held_back(self._session, about)

    async def _once(self, minor: int, asset: str, kind: Kind, to: str | None) -> None:
        """One open proposal into or out of a tier at a time: a person looks at it first."""
        if minor < 1 or await self._rival(asset, kind):
            return
        try:
            async with self._session.begin_nested():
                await propose(
                    self._session,
                    network=self._network.name,
                    money=Money(minor, self._assets.get(asset)),
                    kind=kind,
                    to_address=to,
                    by=HOUSE,
                )
        except InvalidState:
            return
        log.warning("treasury.proposed", network=self._network.name, asset=asset, kind=kind)

    async def _rival(self, asset: str, kind: Kind) -> bool:
        """Whether another way out of hot, or into it, is proposed already; or into warm, from hot:
        what it brings is seen before more is fetched from cold."""
        rivals: tuple[Kind, ...] = ()
        if source(kind) == "hot":
            rivals = ("to_cold", "to_warm")
        elif target(kind) == "hot":
            rivals = ("refill", "to_hot")
        elif kind == "refill_warm":
            rivals = ("to_warm",)
        return bool(
            await self._session.scalar(
                text(
                    "SELECT EXISTS (SELECT FROM treasury_moves WHERE network = :network"
                    " AND asset = :asset AND state = 'proposed' AND kind = ANY(:kinds))"
                ),
                {"network": self._network.name, "asset": asset, "kinds": list(rivals)},
            )
        )

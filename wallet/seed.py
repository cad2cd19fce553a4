"""What a house needs before it can work: its addresses made known and, in the sandbox, its capital.

Idempotent, and tried again until it is done: a node that is away at the first start delays it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from chain.dev import DevNode
from wallet import custody
from wallet.bootstrap import Services
from wallet.payouts import SimulatedBank, seed_house
from wallet.topups import IncomingTransfers

log = structlog.get_logger(__name__)


class HouseSeed:
    """`tick` does it once; `before` puts it in front of a loop that needs it."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._done = False

    async def tick(self) -> None:
        """Register addresses; raise while something is still out of reach."""
        if self._done:
            return
        services = self._services
        faucets = await self._faucets() if services.settings.sandbox else {}
        async with services.db.transaction() as session:
            for network in services.networks:
                for address in services.house.hot:
                    await custody.register_house_address(
                        session, network=network, address=address, place="hot"
                    )
                if services.house.warm is not None:
                    await custody.register_house_address(
                        session, network=network, address=services.house.warm, place="warm"
                    )
            for network, address in faucets.items():
                await custody.register_house_address(
                    session, network=network, address=address, place="faucet"
                )
        if services.settings.sandbox:
            await seed_house(
                services.db, SimulatedBank(services.db), services.assets, IncomingTransfers()
            )
        self._done = True
        log.info("house.seeded", networks=sorted(services.networks), faucets=len(faucets))

    def before(self, tick: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[None]]:
        """`tick` that first makes sure the house is seeded: a scanner must know its addresses."""

        async def seeded() -> None:
            await self.tick()
            await tick()

        return seeded

    async def _faucets(self) -> dict[str, str]:
        """The unlocked account the sandbox pays from, per network that has one."""
        found = {}
        for network, rpc in self._services.rpcs.items():
            accounts = await DevNode(rpc).accounts()
            if accounts:
                found[network] = accounts[0]
        return found

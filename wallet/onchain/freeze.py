"""A frozen network: the house may still move its own coins, customers' payments wait."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.errors import InvalidState
from wallet.onchain.errors import ChainUnavailable
from wallet.onchain.network import NetworkStatus, require_usable
from wallet.onchain.repository import Intent

OWN_PURPOSES = ("sweep", "top_up", "treasury")
"""Purposes of intents that move the house's own coins to the house itself."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """Why, and where to everything of the hot addresses goes (None: nowhere)."""

    reason: str
    evacuate_to: str | None

    @property
    def lets(self) -> tuple[str, ...]:
        """Purposes that may still be given nonces. While hot addresses are emptied nothing may fill
        them, and a sweep may go there: only the treasury moves."""
        return OWN_PURPOSES if self.evacuate_to is None else ("treasury",)


async def frozen(session: AsyncSession, network: str) -> Freeze | None:
    """The network's freeze, if there is one."""
    row = (
        await session.execute(
            text("SELECT reason, evacuate_to FROM network_freezes WHERE network = :network"),
            {"network": network},
        )
    ).one_or_none()
    return None if row is None else Freeze(row.reason, row.evacuate_to)


async def lets_go(session: AsyncSession, freeze: Freeze, intent: Intent) -> bool:
    """Whether it may be given a nonce while this freeze stands. Out of hot addresses that are
    emptied only what empties them goes: what was approved before (profit, a move to warm, whose key
    may be lost with theirs) waits, and keeps nothing back."""
    if intent.purpose not in freeze.lets or freeze.evacuate_to is None:
        return intent.purpose in freeze.lets
    return not await session.scalar(
        text(
            "SELECT EXISTS (SELECT FROM treasury_moves m JOIN chain_signers s"
            " ON s.network = m.network AND s.address = :sender AND s.role = 'hot'"
            " WHERE m.intent_id = :id AND m.kind <> 'evacuate')"
        ),
        {"id": intent.id, "sender": intent.pinned_address},
    )


async def freeze_network(
    session: AsyncSession, network: str, *, reason: str, by: str, to: str | None = None
) -> None:
    """Freeze it, in place of a freeze that it may have. `to`: all hot addresses are emptied there.

    Raises InvalidState where they are being emptied to somewhere else.
    """
    before = await frozen(session, network)
    if before is not None and before.evacuate_to not in (None, to):
        raise InvalidState("It is being evacuated already.", extra={"state": "frozen"})
    await session.execute(
        text("DELETE FROM network_freezes WHERE network = :network"), {"network": network}
    )
    await session.execute(
        text(
            "INSERT INTO network_freezes (network, reason, evacuate_to, by_whom)"
            " VALUES (:network, :reason, :to, :by)"
        ),
        {"network": network, "reason": reason, "to": to, "by": by},
    )


async def emptying(session: AsyncSession, network: str) -> bool:
    """Whether an operator has ordered that its hot addresses be emptied."""
    freeze = await frozen(session, network)
    return freeze is not None and freeze.evacuate_to is not None


async def end_evacuation(session: AsyncSession, network: str) -> None:
    """Nothing is left to be emptied; the freeze itself stays until somebody takes it back."""
    await session.execute(
        text("UPDATE network_freezes SET evacuate_to = NULL WHERE network = :network"),
        {"network": network},
    )


async def require_open(session: AsyncSession, network: str) -> NetworkStatus:
    """The status of a network that customers may send on. Raises ChainUnavailable."""
    if await frozen(session, network) is not None:
        raise ChainUnavailable("Sending on this network is stopped; try again later.")
    return await require_usable(session, network)

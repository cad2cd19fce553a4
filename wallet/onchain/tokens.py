"""Listed tokens that are no longer what was listed: stopped one by one, the network goes on."""

from __future__ import annotations

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.balances import decimals_stand
from chain.client import ChainClient
from chain.errors import ChainError
from chain.registry import Network
from wallet import cases
from wallet.db import Database
from wallet.onchain.errors import ChainUnavailable

TICK_SECONDS = 30.0
log = structlog.get_logger(__name__)


async def halted(session: AsyncSession, network: str) -> dict[str, str]:
    """Asset → why, of the tokens that are stopped on this network."""
    rows = await session.execute(
        text("SELECT asset, reason FROM halted_tokens WHERE network = :network"),
        {"network": network},
    )
    return {row.asset: row.reason for row in rows}


async def leaving(session: AsyncSession, network: Network, *, emptied: bool) -> list[str]:
    """Assets that may leave: listed and not stopped. What waits in others says that a person looks
    at it; however many they are, they are in nobody's way. `emptied`: what lies hot is the thief's,
    and goes to the house whatever it is worth; nothing of customers leaves then."""
    stopped = {} if emptied else await halted(session, network.name)
    listed = [network.native_asset, *(token.code for token in network.tokens)]
    leave = [asset for asset in listed if asset not in stopped]
    await session.execute(
        text(
            "UPDATE chain_intents SET waiting_for = 'review' WHERE network = :network"
            " AND state = 'queued' AND batch_id IS NULL AND asset <> ALL(:leave)"
            " AND waiting_for IS DISTINCT FROM 'review'"
        ),
        {"network": network.name, "leave": leave},
    )
    return leave


async def halt_token(session: AsyncSession, *, network: str, asset: str, reason: str) -> None:
    """Neither credit nor send this token until an operator has looked; a case says so.

    The first reason stays.
    """
    halted_now = await session.execute(
        text(
            "INSERT INTO halted_tokens (network, asset, reason) VALUES (:network, :asset, :reason)"
            " ON CONFLICT DO NOTHING RETURNING asset"
        ),
        {"network": network, "asset": asset, "reason": reason},
    )
    if halted_now.one_or_none() is None:
        return
    await cases.open_case(
        session,
        kind="token_halted",
        subject=f"{network}/{asset}",
        network=network,
        asset=asset,
        what=f"{asset} on {network} is neither credited nor sent: {reason}.",
        evidence={"reason": reason},
    )
    log.error("token.halted", network=network, asset=asset, reason=reason)


async def resume_token(session: AsyncSession, *, network: str, asset: str, by: str) -> bool:
    """Let it go on and close its case. False when it was not stopped."""
    gone = await session.execute(
        text(
            "DELETE FROM halted_tokens WHERE network = :network AND asset = :asset RETURNING asset"
        ),
        {"network": network, "asset": asset},
    )
    if gone.one_or_none() is None:
        return False
    await cases.close_all(
        session,
        kinds=["token_halted"],
        subjects=[f"{network}/{asset}"],
        by=by,
        note="the token was let go on",
    )
    return True


async def require_live(session: AsyncSession, *, network: str, asset: str) -> None:
    """Raises ChainUnavailable when the token is stopped."""
    if asset in await halted(session, network):
        raise ChainUnavailable("This token is halted for review; nothing of it is sent now.")


class TokenWatch:
    """Asks listed contracts now and then whether they still count in the decimals of the file."""

    def __init__(self, db: Database, chain: ChainClient) -> None:
        self._db = db
        self._chain = chain

    async def tick(self) -> None:
        """Stop a token whose contract answers other decimals. Silence proves nothing."""
        network = self._chain.network
        try:
            found = await self._chain.decimals()
        except ChainError as error:
            log.warning("node.away", network=network.name, error=error.code)
            return
        for token in network.tokens:
            answered = found.get(token.code)
            if answered is None or answered == token.decimals:
                continue
            if not await decimals_stand(self._chain.rpc, token, answered):
                continue  # one of several nodes alone says so
            async with self._db.transaction() as session:
                if token.code not in await halted(session, network.name):
                    reason = f"decimals() answers {answered}, listed were {token.decimals}"
                    await halt_token(session, network=network.name, asset=token.code, reason=reason)

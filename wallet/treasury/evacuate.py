"""Everything of the warm address on its way to cold, for the day the whole vault is in doubt.

Unlike hot's, this part needs people: each payment waits for the operators whom the signer's policy
names. All of them can be signed in one sitting, so the coin leaves room for the gas of the rest;
what that gas does not use stays there.
"""

from __future__ import annotations

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.client import ChainClient
from chain.errors import NodeGarbage, NodeRejected, NodeTimeout, NodeUnavailable
from chain.fee_models import beside_gas
from wallet import custody
from wallet.crashpoints import hit
from wallet.ids import new_id
from wallet.money import AssetBook, Money
from wallet.treasury.moves import HOUSE, Move, bound, dismiss, evacuate, its_code_fails

GAS_OF_TOKEN = 300_000
"""What coins stay for, for each token that may go another time."""
OPEN = "('queued', 'allocated', 'signed', 'sent', 'mined')"

log = structlog.get_logger(__name__)


async def warm_out(
    session: AsyncSession, chain: ChainClient, assets: AssetBook, *, cold: str, by: str
) -> list[Move]:
    """Promise what lies warm and is not under way: tokens, then the coin less their gas.

    Moves out of warm that nobody has signed for yet are dismissed first. Again adds what came
    since. A token that refuses (paused, the address barred), or at which the node breaks, stays,
    with its name in the log. Raises ChainError, FeeCeiling, InvalidState.
    """
    network, native = chain.network, chain.network.native_asset
    warm = await custody.warm_address(session, network=network.name)
    if warm is None:
        return []
    await _dismiss_others(session, network.name, by=by)
    head = await chain.head()
    found, later = [], 0
    for code in (*(token.code for token in network.tokens), native):
        try:
            move = await _promised(
                session, chain, assets, code, warm=warm, cold=cold, by=by, number=head.number,
                later=later,
            )  # fmt: skip
        except (NodeRejected, NodeGarbage, NodeTimeout, NodeUnavailable) as error:
            if code == native and not its_code_fails(error):
                raise
            await chain.head()  # a node that is away says nothing of a token
            later += not its_code_fails(error)
            log.error("treasury.token_stays", network=network.name, address=warm, asset=code,
                      error=str(error)[:200])  # fmt: skip
            continue
        if move is not None:
            found.append(move)
    hit("treasury.before_commit_warm")
    return found


async def _promised(
    session: AsyncSession, chain: ChainClient, assets: AssetBook, code: str, *, warm: str,
    cold: str, by: str, number: int, later: int,
) -> Move | None:  # fmt: skip
    """What lies there of one asset and is not under way. `later`: so many tokens may go when it is
    ordered again, and the coin stays for their gas."""
    network, native = chain.network, chain.network.native_asset
    held = await chain.said(warm, code, number)
    if held is None:
        log.error("treasury.token_stays", network=network.name, address=warm, asset=code,
                  error="says nothing")  # fmt: skip
        return None
    minor = held - await _under_way(session, network.name, warm, code, native)
    if code == native and minor > 0:
        gas, ceiling = await bound(chain, sender=warm, to=cold, money=_one(assets, native))
        # The data fee of an `op` chain for this payment, and for each that goes before it.
        beside = await beside_gas(
            chain, asset=native, to=cold, amount_minor=held, gas=gas, cap=ceiling
        )
        minor -= (gas + later * GAS_OF_TOKEN) * ceiling + (1 + len(network.tokens)) * beside
    if minor < 1:
        return None
    move = Move(
        new_id("tre"), network.name, Money(minor, assets.get(code)), "evacuate_warm", cold,
        "approved", HOUSE, None,
    )  # fmt: skip
    async with session.begin_nested():
        await evacuate(session, move, chain=chain, sender=warm, by=by)
    return move


def _one(assets: AssetBook, code: str) -> Money:
    return Money(1, assets.get(code))


async def _dismiss_others(session: AsyncSession, network: str, *, by: str) -> None:
    """Whoever signs for one of them now would fill a hot address that is being emptied."""
    rows = await session.execute(
        text(
            "SELECT m.id FROM treasury_moves m LEFT JOIN chain_intents i ON i.id = m.intent_id"
            " WHERE m.network = :network AND m.kind IN ('to_hot', 'warm_to_cold')"
            " AND (m.state = 'proposed' OR (m.state = 'approved' AND i.state = 'queued'))"
            " ORDER BY m.id"
        ),
        {"network": network},
    )
    for move_id in rows.scalars().all():
        await dismiss(session, move_id, by=by)


async def _under_way(
    session: AsyncSession, network: str, warm: str, asset: str, native: str
) -> int:
    """What promised payments will take of this asset from the warm address, at most."""
    minor = await session.scalar(
        text(
            "SELECT coalesce(sum(CASE WHEN asset = :asset THEN amount_minor ELSE 0 END"
            "  + CASE WHEN :coin THEN gas_limit * fee_ceiling_wei ELSE 0 END), 0)"
            f" FROM chain_intents WHERE network = :network AND state IN {OPEN}"
            " AND pinned_address = :warm"
        ),
        {"network": network, "warm": warm, "asset": asset, "coin": asset == native},
    )
    return int(minor or 0)

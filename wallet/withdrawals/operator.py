"""Cancel and speed-up as an operator's own acts, for a payment whose owner does nothing.

Both obey what holds for its owner: the same nonce, the chain decides. A cancel that an operator
asked for costs the owner nothing: its gas is the house's, and may be dearer than the owner's bound,
since everything behind that nonce waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.registry import Network
from wallet.errors import InvalidField, NotFound
from wallet.money import AssetBook
from wallet.onchain import repository as chain_repository
from wallet.withdrawals import repository
from wallet.withdrawals.repository import Joined
from wallet.withdrawals.service import Withdrawal, get, outbid, take_back

CANCELLED_BY_OPERATOR = "cancelled_by_operator"
"""Why it failed, to its owner; the operator's name stays inside (`cancel_asked_by`)."""
DETAIL = {"by": "operator"}


async def cancel_for(
    session: AsyncSession,
    *,
    withdrawal_id: str,
    by: str,
    assets: AssetBook,
    networks: Mapping[str, Network],
) -> Withdrawal:
    """Take it back for its owner. When the owner asked before, theirs is the cancel; where their
    bound leaves no room for it, the house pays what lies beyond.

    Raises NotFound, InvalidState (`state`), FeeBoundReached, InvalidField (nobody's name).
    """
    if not by.strip():
        raise InvalidField("Say who asks.")
    found = await _any(session, withdrawal_id)
    if await take_back(session, found, assets=assets, networks=networks, detail=DETAIL, by=by):
        intent = await chain_repository.get_intent(session, found.row.intent_id)
        # A queued one has ended already: it used nothing, and its reason is the usual one.
        reason = intent.reason or CANCELLED_BY_OPERATOR
        await chain_repository.update_intent(
            session, intent.id, {"reason": reason, "cancel_asked_by": by}
        )
    return await get(
        session, principal_id=found.row.principal_id, withdrawal_id=withdrawal_id, assets=assets
    )


async def speed_up_for(
    session: AsyncSession,
    *,
    withdrawal_id: str,
    assets: AssetBook,
    networks: Mapping[str, Network],
) -> Withdrawal:
    """Send it again with higher fees, inside the bound that its owner agreed to.

    Raises NotFound, InvalidState (`state`), FeeBoundReached.
    """
    found = await _any(session, withdrawal_id)
    await outbid(session, found, assets=assets, networks=networks, detail=DETAIL)
    return await get(
        session, principal_id=found.row.principal_id, withdrawal_id=withdrawal_id, assets=assets
    )


async def _any(session: AsyncSession, withdrawal_id: str) -> Joined:
    """Whoever's it is."""
    owner = await session.scalar(
        text("SELECT principal_id FROM withdrawals WHERE id = :id"), {"id": withdrawal_id}
    )
    found = None
    if owner is not None:
        found = await repository.find(session, principal_id=owner, withdrawal_id=withdrawal_id)
    if found is None:
        raise NotFound("There is no such withdrawal.")
    return found

"""Assets whose money stays inside because the independent auditor found their books broken.

Whoever lets money out asks here: withdrawals (`wallet/onchain/pauses.py`), payouts over bank rails
(`wallet/payments/gate.py`). What waits goes on when an operator has looked (docs/audit.md).
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

EVERY_ASSET = "*"


async def paused(session: AsyncSession) -> frozenset[str]:
    """The assets; `EVERY_ASSET` among them stands for all."""
    rows = await session.execute(text("SELECT asset FROM audit_pauses"))
    return frozenset(rows.scalars())


async def any_halted(session: AsyncSession, assets: Collection[str]) -> bool:
    """Whether one of these is a token that was halted on some network: nobody says what it is
    worth. In the books it is one asset with what lies on others."""
    found = await session.scalar(
        text("SELECT EXISTS (SELECT FROM halted_tokens WHERE asset = ANY(:assets))"),
        {"assets": [*assets]},
    )
    return bool(found)


async def any_paused(session: AsyncSession, assets: Collection[str]) -> bool:
    """Whether one of these, or every asset, waits."""
    return not {EVERY_ASSET, *assets}.isdisjoint(await paused(session))

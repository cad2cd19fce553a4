"""Whose turn it is among the payments that wait for a nonce: a crowd that cannot go hides nobody.

Those that nothing is known to hold back come oldest first. Those that waited for something when
they were last looked at (float, an approval, a node, a person) have their turns a few at a time,
all of them one after another; of those that wait for lower fees whoever would pay most comes first.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.onchain.repository import Intent, intent_of

NEW_LOOK = 64  # in one pass, of those that wait for nothing
WAITING_LOOK = 16  # of those that waited, and as many that wait for fees: most ask the node
Place = tuple[datetime, str]
"""Behind which of those that wait the next look goes on: `created_at` and id."""


async def turn(
    session: AsyncSession,
    *,
    network: str,
    sender: str,
    assets: Collection[str],
    paused: Collection[str] = (),
    purposes: Collection[str] | None = None,
    behind: Place | None = None,
) -> tuple[list[Intent], Place | None]:
    """What `sender` may be given a nonce for and is looked at now, and where the next look begins.

    `assets`, `purposes`: of these alone; `paused`: assets that only the house moves now. What they
    leave out is not counted.
    """
    rows = await session.execute(
        text(_TURN),
        {
            "network": network,
            "sender": sender,
            "assets": list(assets),
            "paused": list(paused),
            "purposes": None if purposes is None else list(purposes),
            "at": None if behind is None else behind[0],
            "id": None if behind is None else behind[1],
            "new": NEW_LOOK,
            "some": WAITING_LOOK,
        },
    )
    found = rows.all()
    last = next((row for row in reversed(found) if row.kind == "waiting"), None)
    return [intent_of(row) for row in found], None if last is None else (last.created_at, last.id)


_TURN = """
WITH may_go AS (
  SELECT *, CASE WHEN waiting_for IS NULL THEN 'new' WHEN waiting_for = 'fees' THEN 'fees'
   ELSE 'waiting' END AS kind
  FROM chain_intents WHERE network = :network AND state = 'queued' AND batch_id IS NULL
   AND asset = ANY(:assets)
   AND (CAST(:purposes AS text[]) IS NULL OR purpose = ANY(:purposes))
   AND (NOT :paused && ARRAY[asset, '*'] OR purpose IN ('sweep', 'top_up', 'treasury'))
   AND (pinned_address = :sender OR (pinned_address IS NULL AND EXISTS (SELECT FROM chain_signers s
    WHERE s.network = :network AND s.address = :sender AND s.role = 'hot')))
), placed AS (
  SELECT *, row_number() OVER (PARTITION BY kind ORDER BY
   CASE WHEN kind = 'fees' THEN fee_ceiling_wei END DESC NULLS LAST,
   kind = 'waiting' AND (created_at, id)
    <= (CAST(:at AS timestamptz), CAST(:id AS text)), created_at, id) AS place
  FROM may_go
)
SELECT * FROM placed WHERE place <= CASE kind WHEN 'new' THEN :new ELSE :some END
ORDER BY array_position(ARRAY['waiting', 'new', 'fees'], kind), place
"""

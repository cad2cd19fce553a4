"""How often cards may be tried: by person and by client, whatever becomes of it.

Whoever tests stolen cards binds one after the other and charges little to each; declined ones
count like those that succeed. What is counted is committed before the gateway hears of anything.
"""

from __future__ import annotations

from typing import Literal

from wallet.db import Database
from wallet.throttle import hit

What = Literal["bind", "pay"]
TRIES_PER_PERSON = 30
TRIES_PER_CLIENT = 120  # people behind one address share it
WINDOW_SECONDS = 3_600


async def count_try(db: Database, what: What, *, principal_id: str, client: str) -> None:
    """Count one, in a transaction of its own. Raises RateLimited.

    Somebody's own count comes first: what is refused by it is not counted for the client, so that
    one person keeps no others out.
    """
    for bucket, limit in (
        (f"card:{what}:{principal_id}", TRIES_PER_PERSON),
        (f"card:{what}:from:{client}", TRIES_PER_CLIENT),
    ):
        async with db.transaction() as session:
            await hit(session, bucket, limit=limit, window_seconds=WINDOW_SECONDS)

"""Several entries that are posted together or not at all."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.ids import new_id
from wallet.ledger.accounts import account_ids
from wallet.ledger.posting import Command, as_json, refusal


async def post_together(session: AsyncSession, commands: Sequence[Command]) -> list[str]:
    """Post every command, in this order, or none. Returns the ids of their entries.

    Each sees what the ones before it did. All accounts are locked at once, in the order of ids, as
    one command locks its own: batches and single postings cannot deadlock. Raises the LedgerError
    of the first command that is refused, whose text names its place; nothing is written then, also
    where the caller catches it and goes on in the same transaction.
    """
    if not commands or any(not command.lines for command in commands):
        raise ValueError("a batch is of entries, and of one at least")
    ids = await account_ids(session, [spec for one in commands for spec in one.accounts])
    entries = [command.entry_id or new_id("ent") for command in commands]
    payload = [as_json(one, entry, ids) for one, entry in zip(commands, entries, strict=True)]
    async with session.begin_nested():
        answers = await session.execute(
            text("SELECT n, code, detail FROM ledger_post(CAST(:commands AS jsonb)) ORDER BY n"),
            {"commands": orjson.dumps(payload).decode()},
        )
        for row in answers.all():
            if row.code is not None:
                refused = refusal(row.code, row.detail)
                raise type(refused)(f"Entry {row.n + 1} of {len(commands)}: {refused.detail}")
    return entries

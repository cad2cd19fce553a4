"""Many commands in one call, each answered by itself: what group commit rides on.

Below the ORM on purpose: a batch is one round trip, and its cost is shared by all its commands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import psycopg

from wallet.ids import new_id
from wallet.ledger.accounts import AccountSpec
from wallet.ledger.errors import LedgerError
from wallet.ledger.posting import Command, as_json, refusal

Hot = psycopg.AsyncConnection[Any]
ACCOUNTS_KNOWN_MOST = 100_000


class AccountIds:
    """Path to id, kept between batches: an account keeps its id for ever.

    What is learnt in a transaction counts only once it has committed.
    """

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._fresh: dict[str, str] = {}

    async def of(self, hot: Hot, specs: Iterable[AccountSpec]) -> dict[str, str]:
        """Ids of all these accounts, each opened now if it does not exist."""
        wanted = {spec.path: spec for spec in specs}
        missing = [path for path in wanted if path not in self._known]
        if missing:
            self._fresh = await _ids(hot, [wanted[path] for path in sorted(missing)])
        return {path: self._known.get(path) or self._fresh[path] for path in wanted}

    def committed(self) -> None:
        """The transaction that read or opened the latest ones is durable."""
        if len(self._known) + len(self._fresh) > ACCOUNTS_KNOWN_MOST:
            self._known.clear()
        self._known.update(self._fresh)
        self._fresh = {}

    def lost(self) -> None:
        """It is not."""
        self._fresh = {}


async def _ids(hot: Hot, specs: Sequence[AccountSpec]) -> dict[str, str]:
    known = await _read(hot, [spec.path for spec in specs])
    absent = [spec for spec in specs if spec.path not in known]
    if not absent:
        return known
    # In the order of their paths: rivals that open the same accounts cannot deadlock.
    await hot.execute(
        "INSERT INTO accounts (id, path, principal_id, asset, kind, side)"
        " SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[],"
        " %s::text[]) ON CONFLICT DO NOTHING",
        (
            [new_id("acc") for _ in absent],
            [spec.path for spec in absent],
            [spec.principal_id for spec in absent],
            [spec.asset for spec in absent],
            [spec.kind for spec in absent],
            [spec.side for spec in absent],
        ),
    )
    return {**known, **await _read(hot, [spec.path for spec in absent])}


async def _read(hot: Hot, paths: list[str]) -> dict[str, str]:
    rows = await hot.execute("SELECT path, id FROM accounts WHERE path = ANY(%s)", (paths,))
    return {path: id_ async for path, id_ in rows}


async def post_batch(
    hot: Hot, commands: Sequence[Command], ids: AccountIds
) -> list[LedgerError | None]:
    """Post all in the caller's transaction, in this order; the refusal of each, or None."""
    known = await ids.of(hot, (spec for command in commands for spec in command.accounts))
    payload = [
        as_json(
            command, (command.entry_id or new_id("ent")) if command.lines else None, known
        )
        for command in commands
    ]  # fmt: skip
    rows = await hot.execute(
        "SELECT code, detail FROM ledger_post(%s::jsonb) ORDER BY n",
        (orjson.dumps(payload).decode(),),
    )
    return [None if code is None else refusal(code, detail) async for code, detail in rows]

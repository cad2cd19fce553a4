"""Many commands in one call, each answered by itself: what group commit rides on.

Below the ORM on purpose: a batch is one round trip, and its cost is shared by all its commands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
import psycopg

from wallet.errors import WalletError
from wallet.ids import new_id
from wallet.ledger.accounts import AccountSpec
from wallet.ledger.posting import Command, as_json, refusal

Hot = psycopg.AsyncConnection[Any]
ACCOUNTS_KNOWN_MOST = 100_000


class AccountIds:
    """Path to id, kept between batches: an account keeps its id for ever.

    What is learnt in a transaction counts only once it has committed, for those who share `known`
    as well.
    """

    def __init__(self, known: dict[str, str] | None = None) -> None:
        self._known = {} if known is None else known
        self._fresh: dict[str, str] = {}

    async def existing(self, hot: Hot, specs: Iterable[AccountSpec]) -> dict[str, str]:
        """Ids of those of these accounts that exist."""
        paths = {spec.path for spec in specs}
        known = {path: self._known[path] for path in paths if path in self._known}
        missing = [path for path in paths if path not in known]
        if missing:
            self._fresh.update(await _read(hot, missing))
            known.update({path: self._fresh[path] for path in missing if path in self._fresh})
        return known

    def learn(self, ids: Mapping[str, str]) -> None:
        """Opened in this transaction."""
        self._fresh.update(ids)

    def committed(self) -> None:
        """The transaction that read or opened the latest ones is durable."""
        if len(self._known) + len(self._fresh) > ACCOUNTS_KNOWN_MOST:
            self._known.clear()
        self._known.update(self._fresh)
        self._fresh = {}

    def lost(self) -> None:
        """It is not."""
        self._fresh = {}

    def forget(self) -> None:
        """A database that failed over may have lost commits, and with them accounts."""
        self._known.clear()
        self._fresh = {}


def all_known(commands: Iterable[Command], known: Mapping[str, str]) -> bool:
    """Whether each account that they name exists."""
    return all(spec.path in known for one in commands for spec in one.accounts)


Answer = Mapping[str, Any]
"""The row of `idempotency_answers` that is stored with a command."""


async def post_known(
    hot: Hot,
    commands: Sequence[Command],
    known: Mapping[str, str],
    *,
    answers: Sequence[Answer | None] | None = None,
    turn: int | None = None,
) -> list[WalletError | None]:
    """Post all by one statement, a transaction by itself unless the caller has one open; the
    refusal of each, or None. Every account is in `known`; `answers` are as many as `commands`.

    Statements with the same `turn` (an advisory lock's key) go one after the other, in the
    database: the next begins as the last commits, without a word of this process.
    """
    payload = [
        as_json(one, (one.entry_id or new_id("ent")) if one.lines else None, known, answer)
        for one, answer in zip(commands, _each(answers, commands), strict=True)
    ]
    document = orjson.dumps(payload).decode()
    if turn is None:
        rows = await hot.execute(
            "SELECT code, detail FROM ledger_post(%s::jsonb) ORDER BY n", (document,)
        )
    else:
        rows = await hot.execute(
            "SELECT p.code, p.detail"
            " FROM (SELECT pg_advisory_xact_lock(%s) IS NULL AS lost OFFSET 0) AS turn,"
            " LATERAL ledger_post(CASE WHEN turn.lost THEN NULL ELSE %s::jsonb END) AS p"
            " ORDER BY p.n",
            (turn, document),
        )
    return [None if code is None else refusal(code, detail) async for code, detail in rows]


async def post_batch(
    hot: Hot,
    commands: Sequence[Command],
    ids: AccountIds,
    *,
    answers: Sequence[Answer | None] | None = None,
) -> list[WalletError | None]:
    """Post all in the caller's transaction; the refusal of each, or None. `answers`: as above.

    A command that names an account which does not exist yet goes behind the others and by itself:
    where it is refused, the account is not opened either.
    """
    known = await ids.existing(hot, (spec for one in commands for spec in one.accounts))
    ready = [n for n, one in enumerate(commands) if all_known([one], known)]
    refusals: dict[int, WalletError | None] = {}
    stored = _each(answers, commands)
    if ready:
        theirs = [stored[n] for n in ready]
        told = await post_known(hot, [commands[n] for n in ready], known, answers=theirs)
        refusals.update(zip(ready, told, strict=True))
    for n in range(len(commands)):
        if n not in refusals:
            refusals[n] = await _first(hot, commands[n], stored[n], ids)
    return [refusals[n] for n in range(len(commands))]


def _each(
    answers: Sequence[Answer | None] | None, commands: Sequence[Command]
) -> Sequence[Answer | None]:
    return [None] * len(commands) if answers is None else answers


async def _first(
    hot: Hot, command: Command, answer: Answer | None, ids: AccountIds
) -> WalletError | None:
    """The first command on some account: opened with it, or not at all."""
    try:
        async with hot.transaction():
            known = await ids.existing(hot, command.accounts)
            opened = await _open(hot, [one for one in command.accounts if one.path not in known])
            accounts = {**known, **opened}
            (refusal,) = await post_known(hot, [command], accounts, answers=[answer])
            if refusal is not None:
                raise refusal
    except WalletError as refusal:
        return refusal
    ids.learn(opened)
    return None


async def _open(hot: Hot, specs: Sequence[AccountSpec]) -> dict[str, str]:
    """In the order of their paths: rivals that open the same accounts cannot deadlock."""
    wanted = sorted({spec.path: spec for spec in specs}.values(), key=lambda spec: spec.path)
    await hot.execute(
        "INSERT INTO accounts (id, path, principal_id, asset, kind, side)"
        " SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[],"
        " %s::text[]) ON CONFLICT DO NOTHING",
        (
            [new_id("acc") for _ in wanted],
            [spec.path for spec in wanted],
            [spec.principal_id for spec in wanted],
            [spec.asset for spec in wanted],
            [spec.kind for spec in wanted],
            [spec.side for spec in wanted],
        ),
    )
    return await _read(hot, [spec.path for spec in wanted])  # a rival may have been first


async def _read(hot: Hot, paths: list[str]) -> dict[str, str]:
    rows = await hot.execute("SELECT path, id FROM accounts WHERE path = ANY(%s)", (paths,))
    return {path: id_ async for path, id_ in rows}

"""Propose, show, approve and dismiss corrections. Who proposes never approves.

What is proposed is rehearsed at once (posted and rolled back), so that a proposal which the books
would refuse is refused while its author sits before it. Approval judges everything anew: the books
have moved since. The document that was proposed is posted to the unit; the database keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import structlog
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import ledger
from wallet.corrections.document import BatchIn, signed_minor
from wallet.corrections.rules import Touch, check
from wallet.crashpoints import hit
from wallet.errors import FourEyesRequired, InvalidField, InvalidState, NotFound
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.ledger.accounts import AccountSpec
from wallet.ledger.errors import TEXT, AlreadyReversed
from wallet.money import AssetBook
from wallet.outbox import Notice, put

LISTED_AT_MOST = 500
NOTICE = "balance.corrected"
log = structlog.get_logger("operator")


@dataclass(frozen=True, slots=True)
class Correction:
    """One correction. `entries`: note and postings, each of (path, asset, minor units)."""

    id: str
    kind: str
    reverses: str | None
    entries: list[dict[str, Any]]
    reason: str
    state: str
    proposed_by: str
    proposed_at: datetime
    ended_by: str | None
    ended_at: datetime | None
    entry_ids: list[str]


class _Rehearsed(Exception):
    """The proposal could be posted: ends the savepoint of the rehearsal."""


async def propose_reversal(
    session: AsyncSession, *, entry_id: str, reason: str, by: str, assets: AssetBook
) -> Correction:
    """Propose to undo an entry. Raises NotFound, AlreadyReversed, InvalidState (proposed already),
    InvalidField (what `rules` forbids), and what the books would refuse it with."""
    if not reason.strip():
        raise InvalidField("Say why.")
    lines = await _reversed_lines(session, entry_id)
    document = {"entries": [{"note": f"reverses {entry_id}", "postings": lines}]}
    return await _propose(
        session, kind="reversal", reverses=entry_id, document=document, reason=reason, by=by,
        assets=assets,
    )  # fmt: skip


async def propose_entries(
    session: AsyncSession, batch: BatchIn, *, by: str, assets: AssetBook
) -> Correction:
    """Propose entries that are posted together or not at all. Accounts must exist, but
    `expense:correction:ASSET`, which is opened here. Raises InvalidField, errors of amounts, and
    what the books would refuse it with (Unbalanced, InsufficientFunds, …)."""
    paths = {posting.account for entry in batch.entries for posting in entry.postings}
    known = await _accounts(session, sorted(paths), assets)
    entries = []
    for entry in batch.entries:
        postings = []
        for posting in entry.postings:
            account = known[posting.account]
            minor = signed_minor(posting.amount, assets.get(account.asset))
            postings.append({"account": account.path, "asset": account.asset, "minor": str(minor)})
        entries.append({"note": entry.note, "reference": entry.reference, "postings": postings})
    return await _propose(
        session, kind="entries", reverses=None, document={"entries": entries},
        reason=batch.reason, by=by, assets=assets,
    )  # fmt: skip


async def approve(
    session: AsyncSession, correction_id: str, *, by: str, assets: AssetBook
) -> Correction:
    """Agree: everything is posted, or nothing is and it stays proposed.

    Raises NotFound, InvalidState (not proposed any more), FourEyesRequired, InvalidField (what
    `rules` forbids by now), and what the books refuse it with.
    """
    # One approval at a time: two that explain the same difference must not both be judged by it.
    await session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('corrections', 11))"))
    found = await get(session, correction_id, lock=True)
    if found.state != "proposed":
        raise InvalidState("It is not proposed any more.", extra={"state": found.state})
    if found.proposed_by == by:
        raise FourEyesRequired("Another operator than the one who proposed it must approve it.")
    await check(session, await _touches(session, found.entries))
    entry_ids = await _post(session, found, assets, approved_by=by)
    await session.execute(
        text(
            "UPDATE corrections SET state = 'posted', ended_by = :by,"
            " ended_at = clock_timestamp(), entry_ids = :entries WHERE id = :id"
        ),
        {"id": found.id, "by": by, "entries": entry_ids},
    )
    hit("correction.before_commit")
    log.warning("correction.posting", correction=found.id, by=by, entries=entry_ids)
    return await get(session, found.id)


async def dismiss(session: AsyncSession, correction_id: str, *, by: str) -> None:
    """Take a proposal off the list. Raises NotFound, InvalidState."""
    found = await get(session, correction_id, lock=True)
    if found.state != "proposed":
        raise InvalidState("It is not proposed any more.", extra={"state": found.state})
    await session.execute(
        text(
            "UPDATE corrections SET state = 'dismissed', ended_by = :by,"
            " ended_at = clock_timestamp() WHERE id = :id"
        ),
        {"id": found.id, "by": by},
    )
    log.warning("correction.dismissed", correction=found.id, by=by)


async def get(session: AsyncSession, correction_id: str, *, lock: bool = False) -> Correction:
    """One correction. Raises NotFound."""
    query = "SELECT * FROM corrections WHERE id = :id" + (" FOR UPDATE" if lock else "")
    row = (await session.execute(text(query), {"id": correction_id})).one_or_none()
    if row is None:
        raise NotFound("There is no such correction.")
    return _correction(row)


async def listed(session: AsyncSession, *, open_only: bool = True) -> list[Correction]:
    """Oldest first; of more than can be listed, the newest."""
    rows = await session.execute(
        text(
            "SELECT * FROM (SELECT * FROM corrections WHERE NOT :open OR state = 'proposed'"
            " ORDER BY proposed_at DESC, id DESC LIMIT :most) AS newest ORDER BY proposed_at, id"
        ),
        {"open": open_only, "most": LISTED_AT_MOST},
    )
    return [_correction(row) for row in rows]


# Inside


async def _propose(
    session: AsyncSession, *, kind: str, reverses: str | None, document: dict[str, Any],
    reason: str, by: str, assets: AssetBook,
) -> Correction:  # fmt: skip
    correction_id = new_id("cor")
    await check(session, await _touches(session, document["entries"]))
    try:
        async with session.begin_nested():
            await session.execute(
                text(
                    "INSERT INTO corrections (id, kind, reverses, document, reason, proposed_by)"
                    " VALUES (:id, :kind, :reverses, CAST(:document AS jsonb), :reason, :by)"
                ),
                {
                    "id": correction_id, "kind": kind, "reverses": reverses, "by": by,
                    "document": orjson.dumps(document).decode(), "reason": reason,
                },
            )  # fmt: skip
    except IntegrityError:
        raise InvalidState(
            "Its reversal is proposed already; see bifold ledger list.", extra={"state": "proposed"}
        ) from None
    made = await get(session, correction_id)
    try:
        async with session.begin_nested():
            await _post(session, made, assets, approved_by=None)
            raise _Rehearsed
    except _Rehearsed:
        log.warning("correction.proposing", correction=correction_id, kind=kind, by=by)
    return made


async def _post(
    session: AsyncSession, found: Correction, assets: AssetBook, *, approved_by: str | None
) -> list[str]:
    meta = {
        "correction": found.id, "proposed_by": found.proposed_by, "approved_by": approved_by,
    }  # fmt: skip
    specs = await _accounts(session, sorted(_sums(found.entries)), None)
    if found.reverses is not None:
        made = await ledger.reverse(
            session, entry_id=found.reverses, reason=found.reason, meta=meta
        )
        await put(session, *_notices(found, specs))
        return [made]
    commands = [
        ledger.Command(
            kind="correction",
            ref=entry.get("reference") or found.id,
            meta={**meta, "reason": found.reason, "note": entry["note"]},
            lines=[
                ledger.Line(specs[line["account"]], assets.money(line["asset"], int(line["minor"])))
                for line in entry["postings"]
            ],
            notices=_notices(found, specs) if entry is found.entries[0] else (),
        )
        for entry in found.entries
    ]
    return await ledger.post_together(session, commands)


def _notices(found: Correction, specs: Mapping[str, AccountSpec]) -> list[Notice]:
    """Everybody whose balance changes hears of it."""
    people = {spec.principal_id for spec in specs.values() if spec.principal_id is not None}
    return [
        Notice(who, NOTICE, found.id, {"correction_id": found.id, "reason": found.reason})
        for who in sorted(people)
    ]


async def _reversed_lines(session: AsyncSession, entry_id: str) -> list[dict[str, str]]:
    row = (
        await session.execute(
            text(
                "SELECT (SELECT r.id FROM entries r WHERE r.reverses = e.id) AS reversal"
                " FROM entries e WHERE e.id = :id"
            ),
            {"id": entry_id},
        )
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such entry.")
    if row.reversal is not None:
        raise AlreadyReversed(TEXT["already_reversed"])
    lines = await session.execute(
        text(
            "SELECT a.path, p.asset, p.amount_minor FROM postings p JOIN accounts a"
            " ON a.id = p.account_id WHERE p.entry_id = :id ORDER BY p.id"
        ),
        {"id": entry_id},
    )
    return [
        {"account": line.path, "asset": line.asset, "minor": str(-int(line.amount_minor))}
        for line in lines
    ]


def _sums(entries: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """What all of it does to each account."""
    sums: dict[str, int] = {}
    for entry in entries:
        for line in entry["postings"]:
            sums[line["account"]] = sums.get(line["account"], 0) + int(line["minor"])
    return sums


async def _touches(session: AsyncSession, entries: Sequence[Mapping[str, Any]]) -> list[Touch]:
    sums = _sums(entries)
    rows = await session.execute(
        text("SELECT id, path FROM accounts WHERE path = ANY(:paths) ORDER BY path"),
        {"paths": list(sums)},
    )
    return [Touch(row.id, row.path, sums[row.path]) for row in rows]


async def _accounts(
    session: AsyncSession, paths: Sequence[str], assets: AssetBook | None
) -> dict[str, AccountSpec]:
    """Accounts by path. Raises InvalidField for one that is not there: a mistyped path opens none,
    but the expense of corrections itself, where `assets` lists its asset."""
    prefix = accounts.correction_expense("").path
    if assets is not None:
        for path in paths:
            code = path.removeprefix(prefix)
            if path.startswith(prefix) and code in assets:
                await accounts.account_id(session, accounts.correction_expense(code))
    rows = await session.execute(
        text("SELECT path, asset, side, principal_id FROM accounts WHERE path = ANY(:paths)"),
        {"paths": list(paths)},
    )
    known = {row.path: AccountSpec(row.path, row.asset, row.side, row.principal_id) for row in rows}
    missing = [path for path in paths if path not in known]
    if missing:
        raise InvalidField(f"There is no account {missing[0]}.")
    return known


def _correction(row: Any) -> Correction:
    return Correction(
        row.id, row.kind, row.reverses, row.document["entries"], row.reason, row.state,
        row.proposed_by, row.proposed_at, row.ended_by, row.ended_at, list(row.entry_ids or []),
    )  # fmt: skip

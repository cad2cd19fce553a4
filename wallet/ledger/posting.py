"""Commands for `ledger_post`, and the one call that sends them.

A posting is (account, amount): positive credits, negative debits. An entry sums to
zero for each asset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.errors import NotFound, RateLimited, WalletError
from wallet.ids import new_id
from wallet.ledger.accounts import AccountSpec, account_ids
from wallet.ledger.errors import BY_CODE, TEXT, AlreadyReversed, LedgerError
from wallet.money import Money
from wallet.outbox import Notice

TOO_MANY_RETRY_SECONDS = 60
"""After so long one of too many open holds may have ended."""


@dataclass(frozen=True, slots=True)
class Line:
    """One posting to be: `amount` in the account's asset; positive credits."""

    account: AccountSpec
    amount: Money


@dataclass(frozen=True, slots=True)
class HoldOpening:
    """Set `amount` aside on a customer's account.

    `most`: how many holds of this kind its owner may have open, in all assets together.
    """

    account: AccountSpec
    amount: Money
    kind: str
    ref: str
    hold_id: str
    expires_at: datetime | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True)
class HoldClosing:
    """Take from a hold: `capture_minor` spent by the postings, `release_minor` given back.

    `kept_minor`: what the caller read that it keeps; where that has changed, HoldMoved.
    """

    hold_id: str
    capture_minor: int
    release_minor: int
    kept_minor: int | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """All the effects of one posting, done together or not at all."""

    kind: str = ""
    ref: str = ""
    lines: Sequence[Line] = ()
    entry_id: str | None = None
    event_at: datetime | None = None
    reverses: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    open: HoldOpening | None = None
    close: Sequence[HoldClosing] = ()
    transfer: Mapping[str, Any] | None = None
    notices: Sequence[Notice] = ()

    @property
    def accounts(self) -> list[AccountSpec]:
        """Every account it names."""
        named = [line.account for line in self.lines]
        return named if self.open is None else [*named, self.open.account]


async def post(session: AsyncSession, command: Command) -> str | None:
    """Post one command in the caller's transaction. Returns the entry id, when there is an entry.

    Raises a LedgerError (InsufficientFunds, AccountFrozen, …); then nothing is written.
    """
    entry_id = (command.entry_id or new_id("ent")) if command.lines else None
    ids = await account_ids(session, command.accounts) if command.accounts else {}
    payload = as_json(command, entry_id, ids)
    answer = await session.execute(
        text("SELECT code, detail FROM ledger_post(CAST(:commands AS jsonb))"),
        {"commands": orjson.dumps([payload]).decode()},
    )
    code, detail = answer.one()
    if code is not None:
        raise refusal(code, detail)
    return entry_id


def refusal(code: str, detail: str | None = None) -> WalletError:
    """What a code of `ledger_post` is called here."""
    if code == RateLimited.code:
        return RateLimited(TEXT[code], extra={"retry_after": TOO_MANY_RETRY_SECONDS})
    return BY_CODE.get(code, LedgerError)(TEXT.get(code, f"The books refused: {code} {detail}"))


async def hold(session: AsyncSession, opening: HoldOpening) -> None:
    """Set money aside. Raises InsufficientFunds, AccountFrozen, AccountClosed."""
    await post(session, Command(open=opening))


async def release(session: AsyncSession, *, hold_id: str) -> None:
    """Give back all that the hold still keeps. Raises HoldClosed, NotFound."""
    left = await open_amount(session, hold_id=hold_id)
    await post(session, Command(close=[HoldClosing(hold_id, 0, left)]))


async def open_amount(session: AsyncSession, *, hold_id: str) -> int:
    """What the hold still keeps, in minor units; locks its account first. Raises NotFound."""
    await session.execute(text("SELECT 1 FROM ledger_lock_hold(:id)"), {"id": hold_id})
    found = await session.execute(
        text("SELECT amount_minor - captured_minor - released_minor FROM holds WHERE id = :id"),
        {"id": hold_id},
    )
    left = found.scalar_one_or_none()
    if left is None:
        raise NotFound("There is no such hold.")
    return int(left)


async def reverse(
    session: AsyncSession, *, entry_id: str, reason: str, meta: Mapping[str, Any] | None = None
) -> str:
    """Undo an entry by its negation, at most once. Returns the id of the reversal.

    It is an entry like any other: a reversal may be reversed, once, and it obeys the same refusals.
    `meta` is kept beside the reason. Raises AlreadyReversed, NotFound, InsufficientFunds (what it
    takes back is spent or held), AccountFrozen (it debits a frozen account), AccountClosed.
    """
    done = await session.execute(
        text("SELECT id FROM entries WHERE reverses = :id"), {"id": entry_id}
    )
    if done.scalar_one_or_none() is not None:
        raise AlreadyReversed(TEXT["already_reversed"])
    entry = (
        await session.execute(
            text("SELECT kind, ref FROM entries WHERE id = :id"), {"id": entry_id}
        )
    ).one_or_none()
    if entry is None:
        raise NotFound("There is no such entry.")
    rows = await session.execute(
        text(
            "SELECT account_id, asset, amount_minor FROM postings WHERE entry_id = :id ORDER BY id"
        ),
        {"id": entry_id},
    )
    new_entry = new_id("ent")
    payload = {
        "entry": {
            "id": new_entry,
            "kind": "reversal",
            "ref": entry.ref,
            "reverses": entry_id,
            "meta": {**(meta or {}), "reason": reason, "of": entry.kind},
        },
        "postings": [
            {"account": row.account_id, "asset": row.asset, "amount": str(-int(row.amount_minor))}
            for row in rows
        ],
    }
    answer = await session.execute(
        text("SELECT code, detail FROM ledger_post(CAST(:commands AS jsonb))"),
        {"commands": orjson.dumps([payload]).decode()},
    )
    code, _detail = answer.one()
    if code is not None:
        raise refusal(code)
    return new_entry


def as_json(
    command: Command,
    entry_id: str | None,
    ids: Mapping[str, str],
    answer: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The command as `ledger_post` reads it; `ids` are those of its accounts, by path. `answer`:
    the row of `idempotency_answers` that is stored with it."""
    body: dict[str, Any] = {}
    if entry_id is not None:
        body["entry"] = {
            "id": entry_id,
            "kind": command.kind,
            "ref": command.ref,
            "event_at": command.event_at.isoformat() if command.event_at else None,
            "reverses": command.reverses,
            "meta": dict(command.meta),
        }
        body["postings"] = [
            {
                "account": ids[line.account.path],
                "asset": line.amount.asset.code,
                "amount": str(line.amount.minor),
            }
            for line in command.lines
            if line.amount.minor
        ]
    if command.open is not None:
        opening = command.open
        body["open"] = {
            "id": opening.hold_id,
            "account": ids[opening.account.path],
            "asset": opening.amount.asset.code,
            "amount": str(opening.amount.minor),
            "kind": opening.kind,
            "ref": opening.ref,
            "expires_at": opening.expires_at.isoformat() if opening.expires_at else None,
            "most": opening.most,
        }
    if command.close:
        body["close"] = [
            {
                "hold": c.hold_id,
                "capture": str(c.capture_minor),
                "release": str(c.release_minor),
                "kept": None if c.kept_minor is None else str(c.kept_minor),
            }
            for c in command.close
        ]
    if command.transfer is not None:
        body["transfer"] = dict(command.transfer)
    if answer is not None:
        body["answer"] = answer
    body["outbox"] = [
        {"principal_id": n.principal_id, "type": n.type, "ref": n.ref, "data": dict(n.data)}
        for n in command.notices
    ]
    return body

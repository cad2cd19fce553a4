"""Making, capturing and voiding holds, by group commit: each is one command of the books."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from wallet import ledger
from wallet.errors import Forbidden, InvalidField, InvalidState, NotFound, SelfTransfer, WalletError
from wallet.group_batch import Cursor, Prepared
from wallet.holds.models import (
    KIND,
    LONGEST_SECONDS,
    SHORTEST_SECONDS,
    Capture,
    Hold,
    HoldStatus,
    HoldWanted,
)
from wallet.holds.reads import ask_by_ids, by_ids
from wallet.identity.lookup import People, ask_people, people
from wallet.identity.users import nobody
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.ledger.errors import HoldExceeded, HoldExpired
from wallet.money import AssetBook, Money
from wallet.notes import clean_note
from wallet.outbox import Notice

# Somebody captured or voided between the look and the booking: look again.
MOVED = frozenset({"hold_moved", "hold_exceeded", "hold_closed"})


@dataclass(frozen=True, slots=True)
class OpenFlow:
    """A payer sets money aside. Refuses as a transfer does, times out of bounds, and more than
    `most` open holds of one payer (RateLimited)."""

    most: int

    async def look(self, hot: ledger.Hot, asked: Sequence[HoldWanted]) -> Cursor:
        """See `wallet.group_commit`."""
        return await ask_people(
            hot, ids={one.payer_id for one in asked}, names={one.to for one in asked}
        )

    async def prepare(
        self, looked: Cursor, now: datetime, asked: Sequence[HoldWanted]
    ) -> list[Prepared[Hold] | WalletError | None]:
        """See `wallet.group_commit`."""
        known = await people(looked)
        return [_refusable(partial(_opened, known, one, now, self.most)) for one in asked]

    async def after(self, hot: ledger.Hot, done: Sequence[Prepared[Hold]]) -> None:
        """Between whom the money is held."""
        made = [one.made for one in done]
        await hot.execute(
            "INSERT INTO payment_holds (id, payer_id, payee_id, note, created_at)"
            " SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[],"
            " %s::timestamptz[])",
            (
                [hold.id for hold in made],
                [hold.payer.id for hold in made],
                [hold.payee.id for hold in made],
                [hold.note for hold in made],
                [hold.created_at for hold in made],
            ),
        )


@dataclass(frozen=True, slots=True)
class CaptureFlow:
    """The payee takes some or all of it. Raises HoldExceeded, HoldExpired, InvalidState."""

    assets: AssetBook

    async def look(self, hot: ledger.Hot, asked: Sequence[Capture]) -> Cursor:
        """See `wallet.group_commit`."""
        return await ask_by_ids(hot, [one.hold_id for one in asked])

    async def prepare(
        self, looked: Cursor, now: datetime, asked: Sequence[Capture]
    ) -> list[Prepared[Hold] | WalletError | None]:
        """See `wallet.group_commit`."""
        known = await by_ids(looked, self.assets)
        return _in_turn(_captured, known, asked, now)

    async def after(self, hot: ledger.Hot, done: Sequence[Prepared[Hold]]) -> None:
        """A hold that is used up says so."""
        await end(hot, [one.made.id for one in done if one.made.status == "captured"], "captured")


@dataclass(frozen=True, slots=True)
class VoidFlow:
    """Either side gives back what remains. Raises InvalidState when nothing does."""

    assets: AssetBook

    async def look(self, hot: ledger.Hot, asked: Sequence[Capture]) -> Cursor:
        """See `wallet.group_commit`."""
        return await ask_by_ids(hot, [one.hold_id for one in asked])

    async def prepare(
        self, looked: Cursor, now: datetime, asked: Sequence[Capture]
    ) -> list[Prepared[Hold] | WalletError | None]:
        """See `wallet.group_commit`."""
        known = await by_ids(looked, self.assets)
        return _in_turn(_voided, known, asked, now)

    async def after(self, hot: ledger.Hot, done: Sequence[Prepared[Hold]]) -> None:
        """They say how they ended."""
        await end(hot, [one.made.id for one in done], "voided")


async def end(hot: ledger.Hot, ids: Sequence[str], how: HoldStatus) -> None:
    """Say once how these ended."""
    if ids:
        await hot.execute(
            "UPDATE payment_holds SET ended = %s WHERE id = ANY(%s)", (how, list(ids))
        )


def closing(hold: Hold, how: HoldStatus) -> ledger.Command:
    """Give back what remains of `hold`; both sides are told."""
    ended = replace(hold, status=how)
    return ledger.Command(
        close=[
            ledger.HoldClosing(hold.id, 0, hold.remaining.minor, kept_minor=hold.remaining.minor)
        ],
        notices=_told(ended, f"hold.{how}", money=hold.remaining),
    )


def _refusable(build: Callable[[], Prepared[Hold]]) -> Prepared[Hold] | WalletError:
    try:
        return build()
    except WalletError as refusal:
        return refusal


def _in_turn(
    build: Callable[[Mapping[str, Hold], Capture, datetime], Prepared[Hold]],
    known: dict[str, Hold],
    asked: Sequence[Capture],
    now: datetime,
) -> list[Prepared[Hold] | WalletError | None]:
    """Each sees what the ones before it make of the hold, and is refused by nothing but what is
    committed. What others do meanwhile the books see: each command says what it expects of it."""
    told: list[Prepared[Hold] | WalletError | None] = []
    moving: set[str] = set()
    for one in asked:
        prepared = _refusable(partial(build, known, one, now))
        if isinstance(prepared, Prepared):
            known[one.hold_id] = prepared.made
            moving.add(one.hold_id)
            told.append(prepared)
        else:
            told.append(None if one.hold_id in moving else prepared)
    return told


def _opened(known: People, asked: HoldWanted, now: datetime, most: int) -> Prepared[Hold]:
    payer, payee = known.by_id(asked.payer_id), known.named(asked.to)
    if payee is None:
        raise nobody()
    if payer is None:
        raise NotFound("There is no such person.")
    if payee.id == payer.id:
        raise SelfTransfer("You cannot hold money for yourself.", field="/to")
    if not SHORTEST_SECONDS <= asked.expires_in_seconds <= LONGEST_SECONDS:
        raise InvalidField(
            f"From {SHORTEST_SECONDS} seconds to {LONGEST_SECONDS // 86_400} days.",
            field="/expires_in_seconds",
        )
    nothing = Money(0, asked.money.asset)
    hold = Hold(
        id=new_id("hld"),
        status="open",
        payer=payer,
        payee=payee,
        money=asked.money,
        captured=nothing,
        released=nothing,
        note=clean_note(asked.note),
        expires_at=now + timedelta(seconds=asked.expires_in_seconds),
        created_at=now,
    )
    opening = ledger.HoldOpening(
        account=accounts.customer(payer.id, hold.money.asset.code),
        amount=hold.money,
        kind=KIND,
        ref=hold.id,
        hold_id=hold.id,
        expires_at=hold.expires_at,
        most=most,
    )
    command = ledger.Command(open=opening, notices=_told(hold, "hold.created", money=hold.money))
    return Prepared(command, hold)


def _captured(known: Mapping[str, Hold], asked: Capture, now: datetime) -> Prepared[Hold]:
    hold = known.get(asked.hold_id)
    if hold is None or asked.principal_id not in {hold.payer.id, hold.payee.id}:
        raise NotFound("There is no such hold.")
    if asked.principal_id != hold.payee.id:
        raise Forbidden("Only the payee captures this hold.")
    if hold.status == "expired":
        raise HoldExpired("The time of this hold is over.")
    _must_be_open(hold)
    money = hold.remaining if asked.money is None else asked.money
    if money.asset.code != hold.money.asset.code:
        raise InvalidField(f"This hold is in {hold.money.asset.code}.", field="/money/asset")
    if money.minor > hold.remaining.minor:
        raise HoldExceeded(
            "This is more than the hold keeps.", extra={"remaining": hold.remaining.json()}
        )
    after = replace(
        hold,
        captured=Money(hold.captured.minor + money.minor, money.asset),
        status="captured" if money.minor == hold.remaining.minor else "open",
    )
    command = ledger.Command(
        kind="hold_capture",
        ref=hold.id,
        event_at=now,
        lines=[
            ledger.Line(
                accounts.customer(hold.payer.id, money.asset.code), Money(-money.minor, money.asset)
            ),
            ledger.Line(accounts.customer(hold.payee.id, money.asset.code), money),
        ],
        close=[ledger.HoldClosing(hold.id, money.minor, 0, kept_minor=hold.remaining.minor)],
        notices=_told(after, "hold.captured", money=money),
    )
    return Prepared(command, after, MOVED)


def _voided(known: Mapping[str, Hold], asked: Capture, now: datetime) -> Prepared[Hold]:
    hold = known.get(asked.hold_id)
    if hold is None or asked.principal_id not in {hold.payer.id, hold.payee.id}:
        raise NotFound("There is no such hold.")
    if hold.remaining.minor == 0:
        _must_be_open(hold)
    back = Money(hold.released.minor + hold.remaining.minor, hold.money.asset)
    return Prepared(closing(hold, "voided"), replace(hold, status="voided", released=back), MOVED)


def _must_be_open(hold: Hold) -> None:
    if hold.status != "open":
        raise InvalidState(f"This hold is {hold.status} already.", extra={"state": hold.status})


def _told(hold: Hold, type_: str, *, money: Money) -> list[Notice]:
    about = {
        "hold_id": hold.id,
        "status": hold.status,
        "money": money.json(),
        "remaining": hold.remaining.json() if hold.status == "open" else None,
        "from": f"@{hold.payer.handle}",
        "to": f"@{hold.payee.handle}",
    }
    return [
        Notice(hold.payer.id, type_, hold.id, {**about, "direction": "out"}),
        Notice(hold.payee.id, type_, hold.id, {**about, "direction": "in"}),
    ]

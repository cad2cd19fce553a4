"""Differences with the gateway's list: one operator says that the list is right, another agrees.

The list is what the gateway will pay, so the books follow it: nobody enters an amount. Where it is
what the worker would have booked, it is booked as such (`credit`, `charge_back`); any other sum is
an entry of the difference (`adjust`, kind `gateway.resolved`), for the owner or against them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

import structlog
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import cases, clock, ledger, outbox, receivables
from wallet.errors import FourEyesRequired, InvalidField, InvalidState, NotFound
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.ledger.errors import AccountClosed
from wallet.money import AssetBook, Money
from wallet.outbox import Notice
from wallet.topups import booking, repository
from wallet.topups.reconcile import Off, differences
from wallet.topups.service import notice
from wallet.topups.simgate import GATEWAY

Kind = Literal["not_credited", "not_listed", "other_amount", "not_charged_back"]
Deed = Literal["credit", "charge_back", "adjust"]
ENTRY = "gateway.resolved"
NOTICE = "balance.corrected"
log = structlog.get_logger("operator")


@dataclass(frozen=True, slots=True)
class Resolution:
    """What one operator proposed, and what became of it. Amounts in minor units of `asset`."""

    id: str
    gateway: str
    reference: str
    asset: str
    kind: Kind
    deed: Deed
    listed_minor: int
    booked_minor: int
    through_line: int
    reason: str
    state: str
    proposed_by: str
    ended_by: str | None
    principal_id: str | None
    entry_id: str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. `deed` None: no top-up of ours has this reference, and nothing is booked so.

    `principal_id`: whose top-up it is.
    """

    off: Off
    kind: Kind
    deed: Deed | None
    principal_id: str | None
    proposal: Resolution | None


async def open_differences(session: AsyncSession) -> list[Difference]:
    """All that `bifold reconcile` names, by asset and reference."""
    return [await _known(session, off) for off in await differences(session)]


async def propose(
    session: AsyncSession, *, reference: str, asset: str | None, reason: str, by: str
) -> Resolution:
    """Say that the list is right. A new proposal takes the place of an old one.

    Raises InvalidField (no reason; no asset where several differ), NotFound (nothing differs),
    InvalidState (a reference of nobody here; lines that were not read yet).
    """
    if not reason.strip():
        raise InvalidField("Say why.")
    await session.execute(  # before the list, as `approve` locks them
        text("SELECT 1 FROM gateway_resolutions WHERE reference = :r AND state = 'proposed'"
             " FOR UPDATE"),
        {"r": reference},
    )  # fmt: skip
    await repository.lock_list(session, GATEWAY)
    await repository.lock(session, reference)
    found = [off for off in await differences(session) if off.reference == reference]
    if asset is not None:
        found = [off for off in found if off.asset == asset]
    if not found:
        raise NotFound("Nothing differs by this reference, or not for ten minutes yet.")
    if len(found) > 1:
        raise InvalidField(f"Name an asset: {', '.join(off.asset for off in found)} differ.")
    one = await _known(session, found[0])
    if one.deed is None:
        raise InvalidState(
            "No top-up of ours has this reference, so nobody here has its money or owes it.",
            extra={"state": "unknown"},
        )
    await _all_read(session, one.off)
    if one.proposal is not None:
        await _end(session, one.proposal.id, "dismissed", by=by)
    resolution_id = new_id("gtr")
    await session.execute(
        text(
            "INSERT INTO gateway_resolutions (id, gateway, reference, asset, kind, deed,"
            " listed_minor, booked_minor, through_line, reason, proposed_by) VALUES (:id, :gateway,"
            " :reference, :asset, :kind, :deed, :listed, :booked, :through, :reason, :by)"
        ),
        {
            "id": resolution_id, "gateway": GATEWAY, "reference": reference,
            "asset": one.off.asset, "kind": one.kind, "deed": one.deed,
            "listed": one.off.listed_minor, "booked": one.off.booked_minor,
            "through": one.off.through_line, "reason": reason, "by": by,
        },
    )  # fmt: skip
    log.warning("resolution.proposing", resolution=resolution_id, topup=reference, by=by)
    return await get(session, resolution_id)


async def approve(
    session: AsyncSession, assets: AssetBook, *, resolution_id: str, by: str
) -> Resolution:
    """Agree: the books follow the list, by one entry.

    Raises NotFound, InvalidState (not proposed any more; it differs otherwise by now),
    FourEyesRequired.
    """
    made = await get(session, resolution_id, lock=True)
    if made.state != "proposed":
        raise InvalidState("It is not proposed any more.", extra={"state": made.state})
    if made.proposed_by == by:
        raise FourEyesRequired("Another operator than the one who proposed it must approve it.")
    # From here on neither the list's reader nor what the gateway answers moves this top-up.
    await repository.lock_list(session, made.gateway)
    row = await repository.lock(session, made.reference)
    assert row is not None
    now = [
        await _known(session, off)
        for off in await differences(session)
        if (off.reference, off.asset) == (made.reference, made.asset)
    ]
    if not now or _told(now[0]) != (
        made.kind, made.deed, made.listed_minor, made.booked_minor, made.through_line,
    ):  # fmt: skip
        raise InvalidState(
            "It does not differ as it was proposed any more.", extra={"state": "moved"}
        )
    at = await _moment(session, now[0].off)
    entry_id, whose = await _book(session, assets, made, row, at=at, by=by)
    await _end(session, made.id, "posted", by=by, entry_id=entry_id, principal_id=whose)
    await repository.look_again(session, made.reference, again_in_seconds=0)
    await cases.close_all(
        session, kinds=["topup_in_doubt"], subjects=[made.reference], by=by,
        note=f"Resolved by {made.id}.",
    )  # fmt: skip
    log.warning("resolution.posting", resolution=made.id, by=by, entry=entry_id)
    return await get(session, made.id)


async def get(session: AsyncSession, resolution_id: str, *, lock: bool = False) -> Resolution:
    """One resolution. Raises NotFound."""
    query = "SELECT * FROM gateway_resolutions WHERE id = :id" + (" FOR UPDATE" if lock else "")
    row = (await session.execute(text(query), {"id": resolution_id})).mappings().one_or_none()
    if row is None:
        raise NotFound("There is no such resolution.")
    return _resolution(row)


# Inside


async def _known(session: AsyncSession, off: Off) -> Difference:
    """What kind of difference it is, and what resolving it does."""
    found = await session.execute(
        text("SELECT * FROM topups WHERE id = :id AND method = 'card'"), {"id": off.reference}
    )
    row = found.mappings().one_or_none()
    adjusted = "adjust" in await repository.resolved(session, off.reference)
    asked = int(row["amount_minor"]) if row is not None and row["asset"] == off.asset else None
    kind: Kind = "other_amount"
    if off.listed_minor == 0:
        kind = "not_charged_back" if off.taken_back else "not_listed"
    elif off.booked_minor == 0 and off.listed_minor == asked:
        kind = "not_credited"
    deed: Deed | None = "adjust"
    if row is None:
        deed = None
    elif not adjusted and kind == "not_credited" and row["entry_id"] is None:
        deed = "credit"
    elif (
        not adjusted and off.listed_minor == 0 and off.booked_minor == asked
        and row["charge_back_entry_id"] is None
    ):  # fmt: skip
        deed = "charge_back"
    proposed = await session.execute(
        text(
            "SELECT * FROM gateway_resolutions WHERE gateway = :gateway AND reference = :reference"
            " AND asset = :asset AND state = 'proposed'"
        ),
        {"gateway": GATEWAY, "reference": off.reference, "asset": off.asset},
    )
    waiting = proposed.mappings().one_or_none()
    return Difference(
        off, kind, deed, row["principal_id"] if row is not None else None,
        _resolution(waiting) if waiting is not None else None,
    )  # fmt: skip


async def _book(
    session: AsyncSession, assets: AssetBook, made: Resolution, row: RowMapping, *,
    at: datetime, by: str,
) -> tuple[str, str | None]:  # fmt: skip
    """The entry's id, and whose it is: None where it is nobody's."""
    agreed = {
        "resolution": made.id, "proposed_by": made.proposed_by, "approved_by": by,
        "reason": made.reason,
    }  # fmt: skip
    whose = None if row["kept_aside"] else row["principal_id"]
    if made.deed == "adjust":
        return await _adjust(session, assets, made, row, at=at, agreed=agreed)
    money = assets.money(made.asset, abs(made.listed_minor - made.booked_minor))
    act = booking.credit if made.deed == "credit" else booking.charge_back
    entry_id = await act(session, row, money, gateway=made.gateway, at=at, agreed=agreed)
    if made.deed == "credit":
        after = await repository.lock(session, row["id"])
        whose = None if after is None or after["kept_aside"] else row["principal_id"]
    return entry_id, whose


async def _adjust(
    session: AsyncSession, assets: AssetBook, made: Resolution, row: RowMapping, *,
    at: datetime, agreed: Mapping[str, Any],
) -> tuple[str, str | None]:  # fmt: skip
    ours = accounts.gateway(made.gateway, made.asset)
    money = assets.money(made.asset, made.listed_minor - made.booked_minor)
    whose: str | None = None if row["kept_aside"] else row["principal_id"]
    meta = {"gateway": made.gateway, "card_id": row["card_id"], **agreed}
    said = {"correction_id": made.id, "reason": made.reason}
    told = [Notice(whose, NOTICE, made.id, said)] if whose else []
    if whose and money.minor < 0:
        charged = await receivables.charge(
            session, principal_id=whose, money=Money(-money.minor, money.asset), against=ours,
            kind=ENTRY, ref=row["id"], meta=meta, event_at=at, notices=told,
        )  # fmt: skip
        entry_id = charged.entry_id
    else:
        try:
            to = accounts.customer(whose, made.asset) if whose else None
            entry_id = await _move(session, ours, to, made, row, money, at=at, meta=meta, told=told)
        except AccountClosed:
            whose = None
            entry_id = await _move(session, ours, None, made, row, money, at=at, meta=meta)
    if row["status"] == "pending":
        asked = assets.money(row["asset"], int(row["amount_minor"]))
        reason = f"The gateway took {money}; that was booked instead."
        await repository.end(session, row, "failed", reason=reason)
        await outbox.put(
            session,
            notice(row["principal_id"], row["id"], asked, "card", "failed", reason=reason),
        )
    return entry_id, whose


async def _move(
    session: AsyncSession, ours: ledger.AccountSpec, to: ledger.AccountSpec | None,
    made: Resolution, row: RowMapping, money: Money, *,
    at: datetime, meta: Mapping[str, Any], told: list[Notice] | None = None,
) -> str:  # fmt: skip
    nobody = accounts.unattributed(made.gateway, made.asset)
    entry_id = await booking.post(
        session,
        ledger.Command(
            kind=ENTRY, ref=row["id"], event_at=at, meta=meta, notices=told or [],
            lines=booking.movement(ours, to or nobody, money),
        ),
    )  # fmt: skip
    if to is None:
        await booking.look_below_zero(session, row["id"], nobody, money)
    return entry_id


async def _all_read(session: AsyncSession, off: Off) -> None:
    newest = await repository.last_line(session, gateway=GATEWAY, asset=off.asset)
    if off.through_line > newest:
        raise InvalidState(
            "The gateway's list has lines of it that the worker has not read yet.",
            extra={"state": "unread"},
        )


async def _moment(session: AsyncSession, off: Off) -> datetime:
    """When it happened: the newest of its lines, or now for what is on no list."""
    at = await session.scalar(
        text("SELECT at FROM gateway_lines WHERE gateway = :gateway AND line_id = :line"),
        {"gateway": GATEWAY, "line": off.through_line},
    )
    return cast(datetime, at) if at is not None else await clock.now(session)


async def _end(
    session: AsyncSession, resolution_id: str, state: str, *, by: str,
    entry_id: str | None = None, principal_id: str | None = None,
) -> None:  # fmt: skip
    await session.execute(
        text(
            "UPDATE gateway_resolutions SET state = :state, ended_by = :by,"
            " ended_at = clock_timestamp(), entry_id = :entry, principal_id = :whose"
            " WHERE id = :id"
        ),
        {
            "id": resolution_id, "state": state, "by": by, "entry": entry_id,
            "whose": principal_id,
        },
    )  # fmt: skip


def _told(one: Difference) -> tuple[Kind, Deed | None, int, int, int]:
    off = one.off
    return one.kind, one.deed, off.listed_minor, off.booked_minor, off.through_line


def _resolution(row: RowMapping) -> Resolution:
    return Resolution(
        row["id"], row["gateway"], row["reference"], row["asset"], row["kind"], row["deed"],
        int(row["listed_minor"]), int(row["booked_minor"]), row["through_line"], row["reason"],
        row["state"], row["proposed_by"], row["ended_by"], row["principal_id"], row["entry_id"],
    )  # fmt: skip

"""What the receipt of each kind of activity needs to be drawn."""

from __future__ import annotations

from typing import Any

from babel.dates import format_datetime

from api.gateway import bank_of
from api.web import drafts
from api.web.once import new_key
from api.web.shown import money_text
from api.web.timeline import Step, along
from api.web.visit import Visit
from api.web.words import PURPOSES
from api.web.words import ending as why_ended
from wallet import conversions, deposits, holds, topups, transfers, withdrawals
from wallet.activity import Activity
from wallet.db import Session
from wallet.deposits import Deposit
from wallet.fx import quotes
from wallet.payments import reading
from wallet.payments.gate import TOO_LATE
from wallet.payments.states import TRANSITIONS
from wallet.payments.views import Payment
from wallet.receivables import MONEY_OWED
from wallet.topups import Topup
from wallet.withdrawals import Withdrawal


async def read(session: Session, visit: Visit, item: Activity) -> dict[str, Any]:
    """Context for `receipt_<kind>.html`. `waiting` asks the page to look again by itself."""
    shown = await _READERS[item.kind](session, visit, item)
    done = visit.request.query_params.get("done") == "1"
    return {"waiting": False, "done": done, **shown}


async def _transfer(session: Session, visit: Visit, item: Activity) -> dict[str, Any]:
    found = await transfers.get(
        session,
        principal_id=visit.member.id,
        transfer_id=item.id,
        assets=visit.services.assets,
    )
    return {"transfer": found, "incoming": found.payee.id == visit.member.id}


async def _hold(session: Session, visit: Visit, item: Activity) -> dict[str, Any]:
    assets = visit.services.assets
    found = await holds.get(session, principal_id=visit.member.id, hold_id=item.id, assets=assets)
    taken = await holds.captures(session, hold_id=found.id, assets=assets)
    return {
        "hold": found,
        "captures": taken,
        "incoming": found.payee.id == visit.member.id,
        "capture_key": new_key(),
        "void_key": new_key(),
        "errors": drafts.told(visit),
    }


async def _deposit(session: Session, visit: Visit, item: Activity) -> dict[str, Any]:
    found = await deposits.get(
        session,
        principal_id=visit.member.id,
        deposit_id=item.id,
        assets=visit.services.assets,
        networks=visit.services.networks,
    )
    return {
        "deposit": found,
        "steps": _deposit_steps(found, visit),
        "waiting": found.status in ("seen", "confirmed"),
    }


def _deposit_steps(deposit: Deposit, visit: Visit) -> list[Step]:
    have = min(deposit.confirmations, deposit.required_confirmations)
    counting = visit.t(
        "%(have)s of %(need)s confirmations", have=have, need=deposit.required_confirmations
    )
    path = (
        ("seen", visit.t("Seen on the chain")),
        ("confirmed", visit.t("Confirmed by enough blocks")),
        ("credited", visit.t("Credited: yours to spend")),
    )
    times = {"seen": deposit.created_at}
    if deposit.status == "confirmed":
        times["confirmed"] = deposit.updated_at
        counting = visit.t("Waiting until the network cannot take it back")
    if deposit.status == "credited":
        times |= {"confirmed": deposit.updated_at, "credited": deposit.updated_at}
    endings = {
        "orphaned": visit.t("The chain took this block back; nothing arrived"),
        "ignored": visit.t("Not credited: nothing of value that we list"),
        "quarantined": visit.t("Set aside: somebody will look at it"),
    }
    if deposit.status in endings:
        return along(
            path,
            times=times,
            ending=Step("bad", endings[deposit.status], deposit.updated_at),
        )
    return along(path, times=times, waiting=counting)


async def _conversion(session: Session, visit: Visit, item: Activity) -> dict[str, Any]:
    found = await conversions.get(
        session,
        assets=visit.services.assets,
        principal_id=visit.member.id,
        conversion_id=item.id,
    )
    quote = await quotes.get(
        session,
        assets=visit.services.assets,
        principal_id=visit.member.id,
        quote_id=found.quote_id,
    )
    return {"conversion": found, "quote": quote}


async def _withdrawal(session: Session, visit: Visit, item: Activity) -> dict[str, Any]:
    found = await withdrawals.get(
        session,
        principal_id=visit.member.id,
        withdrawal_id=item.id,
        assets=visit.services.assets,
    )
    network = visit.services.networks.get(found.network)
    return {
        "withdrawal": found,
        "network": network,
        "steps": _withdrawal_steps(found, visit, network.confirmations if network else 0),
        "cancel_key": new_key(),
        "speed_up_key": new_key(),
        "waiting": found.status in ("held", "signed", "broadcast", "mined"),
    }


def _withdrawal_steps(found: Withdrawal, visit: Visit, needed: int) -> list[Step]:
    path = (
        ("held", visit.t("Set aside from your balance")),
        ("signed", visit.t("Signed")),
        ("broadcast", visit.t("Sent to the network")),
        ("mined", visit.t("In a block")),
        ("settled", visit.t("Final: it has arrived")),
    )
    times = {event.type.partition(".")[2]: event.at for event in found.events}
    order = [status for status, _ in path]
    if found.status in order:  # after a reorg a later step is in the history, and not true now
        reached = order.index(found.status)
        times = {s: at for s, at in times.items() if s not in order or order.index(s) <= reached}
    ending = None
    if found.status == "failed":
        ending = Step("bad", visit.t("Failed: the rest is back in your balance"), found.updated_at)
    elif found.status == "cancelled":
        told = (
            visit.t("Cancelled on the network: all but its fee is back")
            if found.fee.minor
            else visit.t("Cancelled: everything is back")
        )
        ending = Step("bad", told, found.updated_at)
    elif found.status == "in_review":
        ending = Step("now", visit.t("Somebody looks at it by hand"), found.updated_at)
    return along(path, times=times, waiting=_waiting(found, visit, needed), ending=ending)


def _waiting(found: Withdrawal, visit: Visit, needed: int) -> str:
    return {
        "signature": visit.t("Waiting for the signature"),
        "broadcast": visit.t("About to be sent"),
        "block": visit.t("Waiting for a block to take it in"),
        "cancellation": visit.t("Being cancelled; if the network was faster, it still arrives"),
        "confirmations": visit.t(
            "%(have)s of %(need)s confirmations",
            have=min(found.confirmations, needed),
            need=needed,
        ),
        "liquidity": visit.t("Waiting until the house has coins at hand"),
        "fees": visit.t("The network is dear right now; waiting for lower fees"),
        "signer": visit.t("Waiting for the signer"),
        "signer_limit": visit.t("Today's sending limit is reached; it goes out tomorrow"),
        "approval": visit.t("A large payment: a person signs for it first"),
        "review": visit.t("A person is looking at it"),
        "chain": visit.t("Waiting for the network"),
    }.get(found.waiting_for or "", "")


async def _topup(session: Session, visit: Visit, item: Activity) -> dict[str, Any]:
    found = await topups.get(
        session,
        assets=visit.services.assets,
        principal_id=visit.member.id,
        topup_id=item.id,
    )
    details = None
    if found.waiting_for == "bank_transfer":
        details = await topups.bank_details(
            session,
            bank_of(visit.services),
            assets=visit.services.assets,
            principal_id=visit.member.id,
            asset=found.money.asset.code,
        )
    return {
        "topup": found,
        "details": details,
        "steps": _topup_steps(found, visit),
        "waiting": found.status == "pending",
    }


def _topup_steps(found: Topup, visit: Visit) -> list[Step]:
    path = [
        ("created", visit.t("Asked for")),
        ("succeeded", visit.t("Credited: yours to spend")),
    ]
    times = {"created": found.created_at}
    ending = None
    if found.status == "succeeded" and found.ended_at is not None:
        times["succeeded"] = found.ended_at
    elif found.status == "charged_back":
        ending = Step(
            "bad",
            visit.t("Charged back: the card's bank took it back"),
            found.ended_at,
            visit.t("What was spent already is owed. What comes in repays it first."),
        )
    elif found.status == "failed":
        ending = Step("bad", _topup_failure(found, visit), found.ended_at)
    waiting = {
        "gateway_answer": visit.t("Waiting for the card gateway"),
        "gateway_settlement": visit.t("The card's bank is thinking about it"),
        "three_d_secure": visit.t("Your card's bank asks you to confirm it"),
        "bank_transfer": visit.t("Waiting for your transfer"),
        "review": visit.t("A person is looking at it"),
    }.get(found.waiting_for or "", "")
    if found.method == "bank_transfer" and found.status == "succeeded":
        path = path[1:]  # most transfers come without being asked for
    return along(path, times=times, waiting=waiting, ending=ending)


def _topup_failure(found: Topup, visit: Visit) -> str:
    if found.kept_aside:
        return visit.t("It arrived when your account was closed; it is kept aside")
    if found.method == "bank_transfer":
        return visit.t("No transfer of this amount came in time. One that comes later is credited.")
    return visit.t("Not taken: your card's bank refused it, or it was not confirmed in time")


async def _payment(session: Session, visit: Visit, item: Activity) -> dict[str, Any]:
    found = await reading.get(
        session,
        assets=visit.services.assets,
        principal_id=visit.member.id,
        payment_id=item.id,
    )
    return {
        "payment": found,
        "steps": _payment_steps(found, visit),
        "purpose": visit.t(PURPOSES.get(found.purpose, found.purpose)),
        "cancellable": found.ended_at is None and "cancelled" in _next(found.status),
        "cancel_key": new_key(),
        "waiting": found.ended_at is None,
    }


def _next(status: str) -> set[str]:
    """The states that may follow."""
    return {
        str(after) for before, nexts in TRANSITIONS.items() if before == status for after in nexts
    }


def _payment_steps(found: Payment, visit: Visit) -> list[Step]:
    path = [
        ("created", visit.t("Order taken")),
        ("funded", visit.t("Money taken from your balance")),
        ("converted", visit.t("Converted at the locked rate")),
        ("settling", visit.t("Settled with the paying bank")),
        ("paying_out", visit.t("Handed to the bank over there")),
        ("completed", visit.t("Arrived")),
    ]
    times = {event.type.partition(".")[2]: event.at for event in found.events}
    back = money_text(found.refund) if found.refund else ""
    endings = {
        "returned": visit.t("The bank sent it back: %(money)s is yours again", money=back),
        "failed": visit.t("The bank did not take it: %(money)s is yours again", money=back),
        "cancelled": visit.t("Cancelled: %(money)s is yours again", money=back),
    }
    ending = None
    if found.status in endings:
        if found.reason in (MONEY_OWED, TOO_LATE):
            endings["failed"] = endings["cancelled"]  # no bank was asked
        note = why_ended(found.reason or "", visit.language)
        ending = Step("bad", endings[found.status], found.ended_at, note)
    waiting = {
        "review": visit.t("A person is looking at it"),
        "bank_answer": visit.t("Waiting for the bank's answer"),
        "bank_settlement": visit.t("Waiting for the bank to settle"),
    }.get(found.waiting_for or "", "")
    if waiting and found.waiting_until:
        until = format_datetime(found.waiting_until, "HH:mm", locale=visit.language.babel)
        waiting = visit.t("%(what)s, by %(time)s UTC", what=waiting, time=until)
    return along(path, times=times, waiting=waiting, ending=ending)


_READERS = {
    "transfer": _transfer,
    "deposit": _deposit,
    "conversion": _conversion,
    "withdrawal": _withdrawal,
    "payment": _payment,
    "topup": _topup,
    "hold": _hold,
}

"""Withdrawals: create, show, list, cancel. The worker does the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from chain.registry import Network
from wallet import jobs, ledger, outbox
from wallet.crashpoints import hit
from wallet.errors import InvalidState, NotFound
from wallet.fx import rates
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.money import AssetBook, Money
from wallet.onchain import (
    IntentDraft,
    TooLate,
    let_go,
    request_cancel,
    request_speed_up,
)
from wallet.onchain import repository as chain_repository
from wallet.onchain.freeze import require_open
from wallet.onchain.intents import Attempt, cancel_queued, create_intent
from wallet.onchain.signers import may_have_paid
from wallet.onchain.tokens import require_live
from wallet.outbox import Notice
from wallet.risk import limits
from wallet.withdrawals import repository
from wallet.withdrawals.plan import Plan, refuse_house_address
from wallet.withdrawals.repository import Joined, Row
from wallet.withdrawals.states import Status

PURPOSE = "withdrawal"
SUBMIT = "withdrawals.submit"


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One set of bytes at the withdrawal's nonce. Fees in wei per gas."""

    kind: str
    status: str
    tx_hash: str | None
    max_fee_wei: int
    tip_wei: int
    created_at: datetime
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class EventView:
    """One line of the history."""

    type: str
    at: datetime
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """As its owner sees it. `fee` is the bound until it is due, then what was charged."""

    id: str
    network: str
    status: str
    money: Money
    fee: Money
    fee_max: Money
    fee_expected: Money
    to_address: str
    tx_hash: str | None
    block_number: int | None
    confirmations: int
    waiting_for: str | None
    cancel_requested: bool
    failure_code: str | None
    attempts: list[AttemptView]
    events: list[EventView]
    created_at: datetime
    updated_at: datetime


async def create(
    session: AsyncSession, *, principal_id: str, plan: Plan, assets: AssetBook
) -> Withdrawal:
    """Hold amount and fee bound, and promise the payment. Nothing is sent here.

    Raises InvalidAddress, ChainUnavailable, RateStale, LimitExceeded, InsufficientFunds,
    AccountFrozen, AccountClosed.
    """
    await refuse_house_address(session, network=plan.network, address=plan.to_address)
    await require_open(session, plan.network)
    await require_live(session, network=plan.network, asset=plan.money.asset.code)
    withdrawal_id, hold_id = new_id("wdr"), new_id("hld")
    money, terms = plan.money, plan.terms
    await limits.reserve_outgoing(
        session,
        principal_id=principal_id,
        eur_minor=await rates.eur_minor(session, money=money),
        kind="withdrawal",
        ref=withdrawal_id,
    )
    await ledger.hold(
        session,
        ledger.HoldOpening(
            account=accounts.customer(principal_id, money.asset.code),
            amount=money + terms.bound,
            kind=PURPOSE,
            ref=withdrawal_id,
            hold_id=hold_id,
        ),
    )
    intent_id = await create_intent(
        session,
        IntentDraft(
            purpose=PURPOSE,
            ref=withdrawal_id,
            network=plan.network,
            asset=money.asset.code,
            to_address=plan.to_address,
            amount_minor=money.minor,
            gas_limit=terms.gas_limit,
            fee_ceiling_wei=terms.fee_ceiling_wei,
        ),
    )
    row = await repository.insert(
        session,
        {
            "id": withdrawal_id,
            "principal_id": principal_id,
            "network": plan.network,
            "asset": money.asset.code,
            "amount_minor": money.minor,
            "to_address": plan.to_address,
            "gas_rate": terms.gas_rate,
            "fee_bound_minor": terms.bound.minor,
            "fee_expected_minor": terms.expected.minor,
            "hold_id": hold_id,
            "intent_id": intent_id,
        },
    )
    await record(session, row, "withdrawal.held", {"fee_max": terms.bound.json()}, assets)
    await jobs.enqueue(session, SUBMIT, withdrawal_id=withdrawal_id)
    hit("withdrawal.created")
    return await get(session, principal_id=principal_id, withdrawal_id=withdrawal_id, assets=assets)


async def cancel(
    session: AsyncSession,
    *,
    principal_id: str,
    withdrawal_id: str,
    assets: AssetBook,
    networks: Mapping[str, Network],
) -> Withdrawal:
    """Take it back: at once and free while it is held; afterwards by a transfer of nothing at the
    same nonce, which the payment may still outrun. Asking again changes nothing.

    Raises NotFound, InvalidState (`state`), FeeBoundReached.
    """
    found = await _found(session, principal_id, withdrawal_id)
    if found.row.status is Status.HELD and await may_have_paid(
        session, network=found.row.network, since=found.row.created_at
    ):
        raise InvalidState(
            "This withdrawal may be paid already: the house compares its books with the chain.",
            extra={"state": str(found.row.status)},
        )
    await take_back(session, found, assets=assets, networks=networks, detail={})
    hit("withdrawal.cancelled")
    return await get(session, principal_id=principal_id, withdrawal_id=withdrawal_id, assets=assets)


async def take_back(
    session: AsyncSession, found: Joined, *, assets: AssetBook, networks: Mapping[str, Network],
    detail: dict[str, Any], by: str | None = None,
) -> bool:  # fmt: skip
    """What `cancel` does, whoever asks; `by`: an operator, who is kept to no fee bound. False: it
    was asked for before, nothing changes for its owner.

    Raises InvalidState (`state`), FeeBoundReached.
    """
    intent_id = found.row.intent_id
    if await cancel_queued(session, intent_id) is None:
        await release(session, intent_id, Status.CANCELLED, assets, detail=detail)
        return True
    before = await chain_repository.get_intent(session, intent_id)
    try:
        network = networks[found.row.network]
        percent = network.bump_percent
        if by is None:
            intent = await request_cancel(session, intent_id, bump_percent=percent)
        else:
            intent, _ = await let_go(
                session, intent_id, bump_percent=percent, ceiling_wei=network.max_fee_wei, by=by
            )
    except TooLate:
        raise await _too_late(session, found.row) from None
    if before.cancel_requested_at == intent.cancel_requested_at:
        return False
    await record(session, found.row, "withdrawal.cancel_requested", detail, assets)
    await jobs.enqueue(session, SUBMIT, withdrawal_id=found.row.id)
    return True


async def speed_up(
    session: AsyncSession,
    *,
    principal_id: str,
    withdrawal_id: str,
    assets: AssetBook,
    networks: Mapping[str, Network],
) -> Withdrawal:
    """Send it again at the same nonce with higher fees, inside the fee bound that is held.

    Raises NotFound, InvalidState (`state`: not signed yet, mined, or being cancelled),
    FeeBoundReached.
    """
    found = await _found(session, principal_id, withdrawal_id)
    await outbid(session, found, assets=assets, networks=networks, detail={})
    hit("withdrawal.sped_up")
    return await get(session, principal_id=principal_id, withdrawal_id=withdrawal_id, assets=assets)


async def outbid(
    session: AsyncSession, found: Joined, *, assets: AssetBook, networks: Mapping[str, Network],
    detail: dict[str, Any],
) -> bool:  # fmt: skip
    """What `speed_up` does, whoever asks. False: the last wish is not answered yet.

    Raises InvalidState (`state`), FeeBoundReached.
    """
    intent_id = found.row.intent_id
    before = await chain_repository.get_intent(session, intent_id)
    try:
        percent = networks[found.row.network].bump_percent
        intent = await request_speed_up(session, intent_id, bump_percent=percent)
    except TooLate:
        raise await _too_late(session, found.row) from None
    if before.speed_up_requested_at == intent.speed_up_requested_at:
        return False
    await record(session, found.row, "withdrawal.speed_up_requested", detail, assets)
    await jobs.enqueue(session, SUBMIT, withdrawal_id=found.row.id)
    return True


async def _found(session: AsyncSession, principal_id: str, withdrawal_id: str) -> Joined:
    found = await repository.find(session, principal_id=principal_id, withdrawal_id=withdrawal_id)
    if found is None:
        raise NotFound("There is no such withdrawal.")
    return found


async def release(
    session: AsyncSession, intent_id: str, to: Status, assets: AssetBook, *,
    detail: dict[str, Any] | None = None, failure_code: str | None = None,
) -> None:  # fmt: skip
    """The end of one that used no nonce, as cancelled or failed: all that was held is free."""
    row = await repository.lock_by_intent(session, intent_id)
    if row is None or row.status is not Status.HELD:
        raise AssertionError("a queued intent belongs to a held withdrawal")
    await ledger.release(session, hold_id=row.hold_id)
    await limits.release_outgoing(session, row.id)
    changes = {"status": to, "fee_minor": 0, "failure_code": failure_code}
    row = await repository.update(session, row.id, changes)
    told = dict(detail or {}) | ({} if failure_code is None else {"reason": failure_code})
    await record(session, row, f"withdrawal.{to}", told, assets)


async def _too_late(session: AsyncSession, row: Row) -> InvalidState:
    """The refusal, with the state it is in by now."""
    found = await _found(session, row.principal_id, row.id)
    return InvalidState(
        "This withdrawal is not at a point where that can be done.",
        extra={"state": str(found.row.status)},
    )


async def record(
    session: AsyncSession, row: Row, event: str, detail: dict[str, Any], assets: AssetBook
) -> None:
    """A line of history, and the notice that tells the owner."""
    await repository.add_event(session, row.id, event, detail)
    await outbox.put(session, notice(row, event, detail, assets))


def notice(row: Row, event: str, detail: dict[str, Any], assets: AssetBook) -> Notice:
    """What the owner is told."""
    money = assets.money(row.asset, row.amount_minor)
    data = {
        "withdrawal_id": row.id,
        "status": str(row.status),
        "money": money.json(),
        "network": row.network,
        "to_address": row.to_address,
        **detail,
    }
    return Notice(row.principal_id, event, row.id, data)


async def get(
    session: AsyncSession, *, principal_id: str, withdrawal_id: str, assets: AssetBook
) -> Withdrawal:
    """One withdrawal of this principal. Raises NotFound."""
    found = await repository.find(session, principal_id=principal_id, withdrawal_id=withdrawal_id)
    if found is None:
        raise NotFound("There is no such withdrawal.")
    return (await _views(session, [found], assets))[0]


async def page(
    session: AsyncSession,
    *,
    principal_id: str,
    limit: int,
    cursor: tuple[datetime, str] | None,
    assets: AssetBook,
) -> list[Withdrawal]:
    """Newest first, `limit + 1` rows at most, so that the caller sees whether there are more."""
    rows = await repository.page(session, principal_id=principal_id, limit=limit + 1, cursor=cursor)
    return await _views(session, rows, assets)


async def _views(session: AsyncSession, rows: list[Joined], assets: AssetBook) -> list[Withdrawal]:
    if not rows:
        return []
    sent_by = {item.row.intent_id: item.batch_id or item.row.intent_id for item in rows}
    attempts = await chain_repository.attempts_of(session, sorted(set(sent_by.values())))
    history = await repository.events(session, [item.row.id for item in rows])
    return [
        _view(item, attempts[sent_by[item.row.intent_id]], history[item.row.id], assets)
        for item in rows
    ]


def _view(
    item: Joined, attempts: list[Attempt], history: list[Any], assets: AssetBook
) -> Withdrawal:
    row = item.row
    bound = assets.money(row.asset, row.fee_bound_minor)
    hashes = [attempt.tx_hash for attempt in attempts if attempt.tx_hash is not None]
    depth = 0
    if item.mined_block is not None and item.head_number is not None:
        depth = max(item.head_number - item.mined_block + 1, 0)
    return Withdrawal(
        id=row.id,
        network=row.network,
        status=str(row.status),
        money=assets.money(row.asset, row.amount_minor),
        fee=bound if row.fee_minor is None else assets.money(row.asset, row.fee_minor),
        fee_max=bound,
        fee_expected=assets.money(row.asset, row.fee_expected_minor),
        to_address=row.to_address,
        tx_hash=item.mined_tx_hash or (hashes[-1] if hashes else None),
        block_number=item.mined_block,
        confirmations=depth,
        waiting_for=_waiting_for(item),
        cancel_requested=item.cancel_requested,
        failure_code=row.failure_code,
        attempts=[_attempt(attempt, item.mined_tx_hash) for attempt in attempts],
        events=[EventView(line.type, line.at, line.detail) for line in history],
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


_WAITING = {
    Status.HELD: "signature",
    Status.SIGNED: "broadcast",
    Status.BROADCAST: "block",
    Status.MINED: "confirmations",
    Status.IN_REVIEW: "review",
}


def _waiting_for(item: Joined) -> str | None:
    """Why it waits: a hindrance (liquidity, fees, signer, chain), else what comes next."""
    if item.row.status in (Status.HELD, Status.SIGNED, Status.BROADCAST):
        if item.waiting_for:
            return item.waiting_for
        if item.cancel_requested:
            return "cancellation"
    return _WAITING.get(item.row.status)


def _attempt(attempt: Attempt, mined_tx_hash: str | None) -> AttemptView:
    if attempt.refused is not None:
        status = "refused"
    elif attempt.tx_hash is not None and attempt.tx_hash == mined_tx_hash:
        status = "mined"
    elif attempt.sends:
        status = "sent"
    else:
        status = "prepared" if attempt.raw is None else "signed"
    return AttemptView(
        kind=attempt.kind,
        status=status,
        tx_hash=attempt.tx_hash,
        max_fee_wei=attempt.cap_wei,
        tip_wei=attempt.tip_wei,
        created_at=attempt.created_at,
        sent_at=attempt.first_sent_at,
    )

"""Cancel and speed-up once a nonce is given: wishes, answered by another attempt at the same nonce.

Nothing here decides an end. The original may be mined before its replacement, and then it paid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncSession

from chain.errors import FeeCeiling, InvalidTransaction
from chain.registry import FeeModel
from chain.transactions import (
    PLAIN_TRANSFER_GAS,
    TxFields,
    bumped,
    decode_unsigned,
    self_cancel,
)
from wallet.onchain import repository
from wallet.onchain.errors import FeeBoundReached, TooLate
from wallet.onchain.repository import Attempt, AttemptKind, Intent
from wallet.onchain.states import UNMINED, State

MAX_ATTEMPTS = 20
MAX_ATTEMPTS_OF_HOUSE = 49
"""Replacements of one nonce, and with those that an operator lets be as dear as the network asks;
the table takes 50."""
Replacement = tuple[AttemptKind, TxFields]


async def request_cancel(
    session: AsyncSession, intent_id: str, *, bump_percent: int, ceiling_wei: int | None = None
) -> Intent:
    """Ask that the nonce be used for a transfer of nothing instead. Again changes nothing.

    `ceiling_wei`: what it may bid where the house pays for it. Raises TooLate (`state`) once a
    receipt is there or when it leaves in a batch, FeeBoundReached when that, or the fee bound,
    leaves no room for a replacement that a node would take.
    """
    intent = await repository.lock_intent(session, intent_id)
    if intent.state not in UNMINED or intent.batch_id is not None:
        raise TooLate(intent.state)
    if intent.cancel_requested_at is not None:
        return intent
    attempts = (await repository.attempts_of(session, [intent_id]))[intent_id]
    _demand_room(cancelling(intent, attempts, bump_percent, ceiling_wei=ceiling_wei))
    return await repository.stamp_request(session, intent_id, "cancel_requested_at")


async def request_speed_up(session: AsyncSession, intent_id: str, *, bump_percent: int) -> Intent:
    """Ask for higher fees at the same nonce. While one request is not answered yet, another
    changes nothing.

    Raises TooLate (`state`) while there is nothing to replace, when it is mined, or when it is
    being cancelled; FeeBoundReached.
    """
    intent = await repository.lock_intent(session, intent_id)
    late = intent.state not in (State.SIGNED, State.SENT) or intent.batch_id is not None
    if late or intent.cancel_requested_at is not None:
        raise TooLate(intent.state)
    attempts = (await repository.attempts_of(session, [intent_id]))[intent_id]
    if wants_speed(intent, attempts):
        return intent
    _demand_room(dearer(intent, attempts, bump_percent))
    return await repository.stamp_request(session, intent_id, "speed_up_requested_at")


def wants_cancel(intent: Intent, attempts: Sequence[Attempt]) -> bool:
    """Whether a cancel is asked for and no attempt does it yet."""
    asked = intent.cancel_requested_at is not None
    return asked and all(attempt.kind not in ("cancel", "noop") for attempt in attempts)


def wants_speed(intent: Intent, attempts: Sequence[Attempt]) -> bool:
    """Whether higher fees are asked for and no attempt has been made since."""
    asked = intent.speed_up_requested_at
    return asked is not None and asked > attempts[-1].created_at


def cancelling(
    intent: Intent, attempts: Sequence[Attempt], bump_percent: int, *,
    ceiling_wei: int | None = None,
) -> Replacement | None:  # fmt: skip
    """A transfer of nothing that replaces every attempt so far; None when it passes the bound, or
    `ceiling_wei` in its place. Where nothing was signed yet there is nothing to outbid."""
    sender = intent.from_address or ""
    signed = [attempt for attempt in attempts if attempt.raw is not None]
    newest = decode_unsigned((signed or attempts)[-1].unsigned)
    if not signed:
        return "cancel", nothing(newest, sender)
    try:
        fields = self_cancel(
            newest, sender=sender, percent=bump_percent, gas=newest.gas,
            ceiling_wei=ceiling_wei or intent.fee_ceiling_wei,
        )  # fmt: skip
    except (FeeCeiling, InvalidTransaction):
        return None
    return "cancel", fields


def dearer(
    intent: Intent, attempts: Sequence[Attempt], bump_percent: int, *,
    ceiling_wei: int | None = None,
) -> Replacement | None:  # fmt: skip
    """The newest attempt with both fees raised; None when it passes the bound or is the last. A
    transfer of nothing may bid `ceiling_wei`, if that is given."""
    newest = attempts[-1]
    # A transfer of nothing is outbid by another one: to the signer that is a cancel.
    kind: AttemptKind = "cancel" if newest.kind in ("cancel", "noop") else "bump"
    last, most = MAX_ATTEMPTS, intent.fee_ceiling_wei
    if kind == "cancel" and ceiling_wei:
        last, most = MAX_ATTEMPTS_OF_HOUSE, ceiling_wei
    if newest.seq >= last:
        return None
    try:
        fields = bumped(decode_unsigned(newest.unsigned), bump_percent, ceiling_wei=most)
    except (FeeCeiling, InvalidTransaction):
        return None
    return kind, fields


async def let_go(
    session: AsyncSession, intent_id: str, *, bump_percent: int, ceiling_wei: int, by: str
) -> tuple[Intent, bool]:
    """As `request_cancel`, on an operator's word: the house pays what lies beyond its bound. Also
    where its owner asked before and the bound leaves no room. Whether it was asked for now."""
    before = await repository.lock_intent(session, intent_id)
    intent = await request_cancel(
        session, intent_id, bump_percent=bump_percent, ceiling_wei=ceiling_wei
    )
    fresh = before.cancel_requested_at is None
    if fresh or await _no_room(session, intent, bump_percent):
        intent = await repository.update_intent(session, intent_id, {"cancel_asked_by": by})
    return intent, fresh


async def _no_room(session: AsyncSession, intent: Intent, bump_percent: int) -> bool:
    attempts = (await repository.attempts_of(session, [intent.id]))[intent.id]
    make = cancelling if wants_cancel(intent, attempts) else dearer
    return make(intent, attempts, bump_percent) is None


def nothing(fields: TxFields, sender: str) -> TxFields:
    """A transfer of nothing to oneself at the same nonce, fees and gas limit."""
    return replace(fields, to=sender, value=0, data=b"", authorizations=())


def plain(fields: TxFields, model: FeeModel) -> TxFields:
    """A transfer of nothing with the gas that it takes: limit × price must lie at its sender, and a
    batch's limit is 300 times as much. Of an address without code only; and not where L1's part
    lies in the gas units: there the payment's limit stays, which is enough."""
    return fields if model == "arbitrum" else replace(fields, gas=PLAIN_TRANSFER_GAS)


def missing(sendable: Sequence[Attempt], known: set[str]) -> Sequence[Attempt]:
    """What the node is to be given again, newest first; an older one may be the one it takes.

    Once it has one of them only the newest may be missing. That this was handed over before says
    nothing: its request may have been lost, and the older one be too cheap for hours.
    """
    newest = sendable[-1]
    if newest.tx_hash in known:
        return ()
    there = any(attempt.tx_hash in known for attempt in sendable)
    return (newest,) if there else sendable[::-1]


def _demand_room(replacement: Replacement | None) -> None:
    if replacement is None:
        raise FeeBoundReached(
            "Its fee bound leaves no room for a replacement; what was sent goes on."
        )

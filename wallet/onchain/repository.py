"""Queries of signers, intents and attempts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.onchain import signers
from wallet.onchain.states import State

AttemptKind = Literal["pay", "bump", "cancel", "noop"]
PAYING: tuple[AttemptKind, ...] = ("pay", "bump")
LATE_SECONDS = 900
"""After its bytes first left, a payment should have ended by then (`wallet.onchain.casework`)."""


@dataclass(frozen=True, slots=True)
class Intent:
    """One payment on chain. `amount_minor` of `asset`; `gas_fee_wei`: burnt, once mined.

    With `data` it is a call of the contract `to_address` with `amount_minor` wei. Only
    `pinned_address` may send it, if that is set. With `batch_id` another intent pays it.
    """

    id: str
    purpose: str
    ref: str
    network: str
    asset: str
    to_address: str
    amount_minor: int
    gas_limit: int
    fee_ceiling_wei: int
    state: State
    reason: str | None
    waiting_for: str | None
    from_address: str | None
    nonce: int | None
    mined_tx_hash: str | None
    mined_kind: AttemptKind | None
    mined_block: int | None
    mined_block_hash: str | None
    mined_status: int | None
    gas_used: int | None
    gas_fee_wei: int | None
    passed_at_block: int | None
    cancel_requested_at: datetime | None
    speed_up_requested_at: datetime | None
    pinned_address: str | None = None
    data: bytes | None = None
    authorizations: bytes | None = None
    batch_id: str | None = None
    alone: bool = False
    exact_fee: bool = False
    created_at: datetime | None = None
    cancel_asked_by: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One set of bytes at an intent's nonce. `raw` is None until the signer has answered."""

    intent_id: str
    seq: int
    kind: AttemptKind
    unsigned: bytes
    tip_wei: int
    cap_wei: int
    refused: str | None
    raw: bytes | None
    tx_hash: str | None
    sends: int
    seconds_since_sent: float | None
    age_seconds: float
    last_outcome: str | None
    last_message: str | None
    created_at: datetime
    first_sent_at: datetime | None


# Intents


async def insert_intent(session: AsyncSession, values: Mapping[str, Any]) -> None:
    """A new queued intent. Columns come from our own code."""
    columns = ", ".join(values)
    places = ", ".join(f":{name}" for name in values)
    await session.execute(
        text(f"INSERT INTO chain_intents ({columns}) VALUES ({places})"),
        dict(values),
    )


async def get_intent(session: AsyncSession, intent_id: str) -> Intent:
    """The intent as it is now."""
    one = {"id": intent_id}
    found = await session.execute(text("SELECT * FROM chain_intents WHERE id = :id"), one)
    return intent_of(found.one())


async def lock_intent(session: AsyncSession, intent_id: str) -> Intent:
    """The intent, locked against every other move until the commit."""
    found = await session.execute(
        text("SELECT * FROM chain_intents WHERE id = :id FOR UPDATE"), {"id": intent_id}
    )
    return intent_of(found.one())


async def update_intent(
    session: AsyncSession, intent_id: str, changes: Mapping[str, Any]
) -> Intent:
    """Write `changes` (columns named by our own code) and return the row."""
    sets = ", ".join(f"{name} = :{name}" for name in changes)
    changed = await session.execute(
        text(
            f"UPDATE chain_intents SET {sets}, updated_at = clock_timestamp()"
            " WHERE id = :intent_id RETURNING *"
        ),
        {**changes, "intent_id": intent_id},
    )
    return intent_of(changed.one())


async def stamp_request(
    session: AsyncSession,
    intent_id: str,
    column: Literal["cancel_requested_at", "speed_up_requested_at"],
) -> Intent:
    """Note a wish for this intent, by the database's real clock."""
    stamped = await session.execute(
        text(f"UPDATE chain_intents SET {column} = clock_timestamp() WHERE id = :id RETURNING *"),
        {"id": intent_id},
    )
    return intent_of(stamped.one())


async def set_waiting(
    session: AsyncSession,
    intent_ids: Sequence[str],
    reason: str | None,
    *,
    queued_only: bool = False,
) -> None:
    """Say why these wait. Writes only what changes. `queued_only`: of the rest, another lane knows
    more than the caller."""
    await session.execute(
        text(
            "UPDATE chain_intents SET waiting_for = :reason WHERE id = ANY(:ids)"
            " AND waiting_for IS DISTINCT FROM :reason AND (NOT :queued OR state = 'queued')"
        ),
        {"ids": list(intent_ids), "reason": reason, "queued": queued_only},
    )


async def intents_in(
    session: AsyncSession,
    *,
    network: str,
    states: Iterable[State],
    address: str | None = None,
    limit: int = 1_000,
) -> list[Intent]:
    """Intents in these states: by nonce where they have one, then oldest first. `address`: those
    sent from there. Who waits for lower fees comes last, whoever would pay most first. Whose turn
    it is to be given a nonce says `wallet.onchain.queue`.
    """
    rows = await session.execute(
        text(
            "SELECT * FROM chain_intents WHERE network = :network AND state = ANY(:states)"
            " AND (CAST(:address AS text) IS NULL OR from_address = :address)"
            " AND (batch_id IS NULL OR state <> 'queued')"
            " ORDER BY nonce NULLS LAST,"
            " CASE WHEN waiting_for = 'fees' THEN fee_ceiling_wei END DESC NULLS FIRST,"
            " created_at, id LIMIT :limit"
        ),
        {
            "network": network,
            "states": [str(state) for state in states],
            "address": address,
            "limit": limit,
        },
    )
    return [intent_of(row) for row in rows]


async def in_flight_count(session: AsyncSession, *, network: str, address: str) -> int:
    """How many nonces of this address are given and not mined."""
    return int(
        await session.scalar(
            text(
                "SELECT count(*) FROM chain_intents WHERE network = :network"
                " AND from_address = :address AND state IN ('allocated', 'signed', 'sent')"
            ),
            {"network": network, "address": address},
        )
        or 0
    )


async def lanes(session: AsyncSession, network: str) -> dict[str, int]:
    """Hot addresses that may be given nonces, by how many of theirs are not mined; least first.

    An address whose payment waits for the signer's day or for a person is none: whatever it got
    would stand behind that nonce.
    """
    rows = await session.execute(
        text(
            "SELECT s.address, count(i.id) AS busy FROM chain_signers s"
            " LEFT JOIN chain_intents i ON i.network = s.network AND i.from_address = s.address"
            "  AND i.state IN ('allocated', 'signed', 'sent')"
            " WHERE s.network = :network AND s.halted_reason IS NULL AND s.role = 'hot'"
            " GROUP BY s.address, s.created_at"
            " HAVING bool_and(coalesce(i.waiting_for, '') NOT IN ('signer_limit', 'review'))"
            " ORDER BY busy, s.created_at, s.address"
        ),
        {"network": network},
    )
    return {row.address: int(row.busy) for row in rows}


@dataclass(frozen=True, slots=True)
class Overdue:
    """A payment that a person should look at. `age_seconds` since it was promised."""

    id: str
    state: str
    waiting_for: str | None
    reason: str | None
    age_seconds: float


async def overdue(session: AsyncSession, network: str, *, seconds: float) -> list[Overdue]:
    """Payments in review, and those not mined so long after they were promised; oldest first."""
    rows = await session.execute(
        text(
            "SELECT id, state, waiting_for, reason,"
            " extract(epoch FROM bifold_now() - created_at)::float8 AS age"
            " FROM chain_intents WHERE network = :network AND (state = 'in_review' OR"
            " (state IN ('queued', 'allocated', 'signed', 'sent')"
            "  AND created_at < bifold_now() - make_interval(secs => :seconds)))"
            " ORDER BY created_at, id LIMIT 100"
        ),
        {"network": network, "seconds": seconds},
    )
    return [Overdue(r.id, r.state, r.waiting_for, r.reason, r.age) for r in rows]


async def still_queued(session: AsyncSession, intent_ids: Sequence[str]) -> set[str]:
    """Which of these wait for a nonce."""
    rows = await session.execute(
        text("SELECT id FROM chain_intents WHERE id = ANY(:ids) AND state = 'queued'"),
        {"ids": list(intent_ids)},
    )
    return set(rows.scalars())


DUE = (
    "EXISTS (SELECT FROM (SELECT CAST(%s AS text) AS name) n WHERE EXISTS (SELECT FROM"
    " chain_intents WHERE network = n.name"
    " AND state IN ('queued', 'allocated', 'signed', 'sent', 'mined'))"
    " OR NOT EXISTS (SELECT FROM network_state WHERE network = n.name"
    f" AND compared_in = {signers.INSTANCE}))"
)
"""Whether there is work on a network: an open intent, or these books were not held against the
signer and the chain since the database began to run."""


async def anything_due(session: AsyncSession, network: str) -> str | None:
    """`DUE`, asked about this network: None, or which database was asked (`signers.INSTANCE`)."""
    asked = f"SELECT {signers.INSTANCE} WHERE " + DUE.replace("%s", ":network")
    found: str | None = await session.scalar(text(asked), {"network": network})
    return found


async def nonce_passed(session: AsyncSession, *, network: str, address: str) -> bool:
    """Whether the chain is past a nonce of ours that shows no receipt. Nothing new until clear."""
    return bool(
        await session.scalar(
            text(
                "SELECT EXISTS (SELECT FROM chain_intents WHERE network = :network"
                " AND from_address = :address AND passed_at_block IS NOT NULL"
                " AND state IN ('allocated', 'signed', 'sent'))"
            ),
            {"network": network, "address": address},
        )
    )


# Attempts


async def insert_attempt(
    session: AsyncSession,
    *,
    intent: Intent,
    seq: int,
    kind: AttemptKind,
    unsigned: bytes,
    tip_wei: int,
    cap_wei: int,
) -> None:
    """Fix the bytes that will be signed, before anybody is asked to."""
    await session.execute(
        text(
            "INSERT INTO chain_attempts (intent_id, seq, network, kind, unsigned, tip_wei, cap_wei)"
            " VALUES (:intent, :seq, :network, :kind, :unsigned, :tip, :cap)"
        ),
        {
            "intent": intent.id,
            "seq": seq,
            "network": intent.network,
            "kind": kind,
            "unsigned": unsigned,
            "tip": tip_wei,
            "cap": cap_wei,
        },
    )


async def attempts_of(session: AsyncSession, intent_ids: Sequence[str]) -> dict[str, list[Attempt]]:
    """Attempts by intent, oldest first."""
    rows = await session.execute(
        text(
            "SELECT *, extract(epoch FROM clock_timestamp() - last_sent_at)::float8"
            " AS seconds_since_sent, extract(epoch FROM clock_timestamp()"
            " - coalesce(first_sent_at, created_at))::float8 AS age_seconds FROM chain_attempts"
            " WHERE intent_id = ANY(:ids) ORDER BY intent_id, seq"
        ),
        {"ids": list(intent_ids)},
    )
    found: dict[str, list[Attempt]] = {intent_id: [] for intent_id in intent_ids}
    for row in rows:
        found[row.intent_id].append(_attempt_of(row))
    return found


async def store_signed(
    session: AsyncSession, *, intent_id: str, seq: int, raw: bytes, tx_hash: str
) -> bool:
    """Keep the signed bytes. False when a rival stored them first, or gave the attempt up."""
    stored = await session.scalar(
        text(
            "UPDATE chain_attempts SET raw = :raw, tx_hash = :hash, signed_at = clock_timestamp()"
            " WHERE intent_id = :intent AND seq = :seq AND raw IS NULL AND refused IS NULL"
            " RETURNING 1"
        ),
        {"intent": intent_id, "seq": seq, "raw": raw, "hash": tx_hash},
    )
    return stored is not None


async def store_refused(session: AsyncSession, *, intent_id: str, seq: int, reason: str) -> bool:
    """Keep that the signer will not sign these bytes. False when they are signed after all."""
    stored = await session.scalar(
        text(
            "UPDATE chain_attempts SET refused = :reason WHERE intent_id = :intent AND seq = :seq"
            " AND raw IS NULL AND refused IS NULL RETURNING 1"
        ),
        {"intent": intent_id, "seq": seq, "reason": reason},
    )
    return stored is not None


async def store_outcome(
    session: AsyncSession, *, intent_id: str, seq: int, outcome: str, message: str
) -> int:
    """Keep how the node took the bytes this time. Returns how often they were sent by now."""
    sends = await session.scalar(
        text(
            "UPDATE chain_attempts SET sends = sends + 1, last_sent_at = clock_timestamp(),"
            " first_sent_at = coalesce(first_sent_at, clock_timestamp()),"
            " late_at = coalesce(late_at, bifold_now() + make_interval(secs => :late)),"
            " last_outcome = :outcome, last_message = :message"
            " WHERE intent_id = :intent AND seq = :seq RETURNING sends"
        ),
        {
            "intent": intent_id,
            "seq": seq,
            "outcome": outcome,
            "message": message,
            "late": LATE_SECONDS,
        },
    )
    return int(sends or 0)


def intent_of(row: Any) -> Intent:
    """A row of chain_intents as a value."""
    return Intent(
        id=row.id,
        purpose=row.purpose,
        ref=row.ref,
        network=row.network,
        asset=row.asset,
        to_address=row.to_address,
        amount_minor=int(row.amount_minor),
        gas_limit=row.gas_limit,
        fee_ceiling_wei=int(row.fee_ceiling_wei),
        state=State(row.state),
        reason=row.reason,
        waiting_for=row.waiting_for,
        from_address=row.from_address,
        nonce=row.nonce,
        mined_tx_hash=row.mined_tx_hash,
        mined_kind=row.mined_kind,
        mined_block=row.mined_block,
        mined_block_hash=row.mined_block_hash,
        mined_status=row.mined_status,
        gas_used=row.gas_used,
        gas_fee_wei=None if row.gas_fee_wei is None else int(row.gas_fee_wei),
        passed_at_block=row.passed_at_block,
        cancel_requested_at=row.cancel_requested_at,
        speed_up_requested_at=row.speed_up_requested_at,
        pinned_address=row.pinned_address,
        data=None if row.data is None else bytes(row.data),
        authorizations=None if row.authorizations is None else bytes(row.authorizations),
        batch_id=row.batch_id,
        alone=row.alone,
        exact_fee=row.exact_fee,
        created_at=row.created_at,
        cancel_asked_by=row.cancel_asked_by,
    )


def _attempt_of(row: Any) -> Attempt:
    return Attempt(
        intent_id=row.intent_id,
        seq=row.seq,
        kind=cast(AttemptKind, row.kind),
        unsigned=bytes(row.unsigned),
        tip_wei=int(row.tip_wei),
        cap_wei=int(row.cap_wei),
        refused=row.refused,
        raw=None if row.raw is None else bytes(row.raw),
        tx_hash=row.tx_hash,
        sends=row.sends,
        seconds_since_sent=row.seconds_since_sent,
        age_seconds=row.age_seconds,
        last_outcome=row.last_outcome,
        last_message=row.last_message,
        created_at=row.created_at,
        first_sent_at=row.first_sent_at,
    )

"""What sending stops or leaves to a person becomes a case, in the same transaction.

A halted signer and a payment in review have their case as long as they are so. A payment that was
handed to a node and has no end 15 minutes later gets one from a loop (`LateWatch`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.registry import Network
from wallet import cases
from wallet.cases import HOUSE
from wallet.crashpoints import hit
from wallet.db import Database
from wallet.errors import InvalidState
from wallet.onchain import repository, signers
from wallet.onchain.repository import Intent
from wallet.onchain.states import State

TICK_SECONDS = 10.0
LATE_SECONDS = repository.LATE_SECONDS
TAG_SECONDS = 900.0
"""How long a node's `finalized` tag trails its head: 13 to 15 minutes on Ethereum."""
LOOK = 200
"""Late payments that get their case in one pass; an address has at most 16 in flight."""
ENDS: Final = (State.FINAL_OK, State.FINAL_REVERTED, State.CANCELLED, State.FAILED)
WORDS: Final[dict[str, str]] = {
    "foreign_transaction": "Something used nonce {nonce} of {address}, and the node shows no"
    " receipt of ours: somebody else has that key, this database is an old copy, or the node keeps"
    " no receipts.",
    "no_transfer_event": "The transaction is final, and its token did not say that it paid.",
    "no_paid_event": "The batch is final, and its contract did not say that it paid this member.",
    "lost_row": "The chain has a transaction that paid it, and these books had lost its row.",
    "signer_answered_other_bytes": "The signer answered other bytes than those it was asked for.",
}
log = structlog.get_logger(__name__)


# Signers


async def halt_signer(
    session: AsyncSession, *, network: str, address: str, reason: str, used: int | None = None
) -> None:
    """No more nonces of this address until a person has looked, and a case that says so.

    `used`: nonces that it has used by now, for the chain or its signer. Where these are more than
    the open case says, another one begins now: what was promised before may be paid (`signers.
    may_have_paid`), also in a copy of these books that was made while it stood halted.
    """
    halted = await signers.halt_signer(session, network=network, address=address, reason=reason)
    subject = f"{network}/{address}"
    if not halted and used is not None and await _grown(session, subject, used):
        await cases.close_all(
            session, kinds=["signer_halted"], subjects=[subject], by=HOUSE,
            note="it has used more nonces since: a newer case says so",
        )  # fmt: skip
        halted = True
    if halted:
        await cases.open_case(
            session,
            kind="signer_halted",
            subject=subject,
            network=network,
            what=f"{address} signs nothing on {network}: {reason}.",
            evidence={"address": address, "reason": reason, "nonces": used},
        )


async def _grown(session: AsyncSession, subject: str, used: int) -> bool:
    """Whether the open case knows of fewer nonces, or does not say of how many."""
    return bool(
        await session.scalar(
            text(
                "SELECT EXISTS (SELECT FROM cases WHERE kind = 'signer_halted'"
                " AND subject = :subject AND status = 'open'"
                " AND coalesce(CAST(evidence->>'nonces' AS bigint), -1) < :used)"
            ),
            {"subject": subject, "used": used},
        )
    )


async def resume_signer(
    session: AsyncSession, *, network: str, address: str, by: str, next_nonce: int | None = None
) -> bool:
    """Let it give nonces again, from `next_nonce` on if that is above its own. False when it was
    not halted. Raises InvalidState where an evacuation has given it up."""
    if await signers.retired(session, network=network, address=address):
        raise InvalidState("It was emptied and given up for good: its key may be out.")
    if next_nonce is not None:
        await signers.set_next_nonce(
            session, network=network, address=address, next_nonce=next_nonce, halted_only=True
        )
    done = await signers.resume_signer(session, network=network, address=address)
    if done:
        await cases.close_all(
            session,
            kinds=["signer_halted"],
            subjects=[f"{network}/{address}"],
            by=by,
            note="the signer was let go on",
        )
    return done


async def give_up(session: AsyncSession, *, network: str, address: str, by: str) -> None:
    """An evacuation has emptied it: nobody is to let it go on by the case of an earlier halt."""
    await signers.give_up(session, network=network, address=address)
    await cases.close_all(
        session,
        kinds=["signer_halted"],
        subjects=[f"{network}/{address}"],
        by=by,
        note="it was emptied, and signs nothing any more",
    )


async def nonce_of_nobody(session: AsyncSession, network: str, address: str, count: int) -> None:
    """A case: the pool has a nonce of a hot address that these books never gave."""
    await cases.open_case(
        session,
        kind="nonce_of_nobody",
        subject=f"{network}/{address}",
        network=network,
        what=f"A transaction of {address} waits in the pool of {network} at a nonce that these"
        " books never gave: this database is an old copy, or somebody else has that key. No hot"
        " address pays customers there until it is mined or forgotten.",
        evidence={"address": address, "pool_nonces": count},
    )


async def nobody_waits(session: AsyncSession, network: str, addresses: Sequence[str]) -> None:
    """Close it: there is none any more."""
    await cases.close_all(
        session,
        kinds=["nonce_of_nobody"],
        subjects=[f"{network}/{address}" for address in addresses],
        by=HOUSE,
        note="the pool has no such nonce any more: it was mined, which halts the address, or"
        " forgotten",
    )


# Payments


async def moved(session: AsyncSession, intent: Intent, *, previous: State, by: str | None) -> None:
    """An intent has changed its state: open the case of a review, close what has ended."""
    if intent.state is State.IN_REVIEW:
        await _open_review(session, intent)
    elif intent.state not in ENDS:
        return
    if previous is State.IN_REVIEW:
        await cases.close_all(
            session,
            kinds=["payment_in_review", "payment_late"],
            subjects=[intent.id],
            by=by or HOUSE,
            note=f"it ended as {intent.state}: {intent.reason or 'the chain has decided'}",
        )
    elif intent.batch_id is None:  # a member has no nonce that could be late
        end = "it is in review" if intent.state is State.IN_REVIEW else f"it ended: {intent.state}"
        await cases.close_all(
            session, kinds=["payment_late"], subjects=[intent.id], by=HOUSE, note=end
        )


async def _open_review(session: AsyncSession, intent: Intent) -> None:
    reason = intent.reason or "unknown"
    words = WORDS.get(reason, "The signer would not sign it ({reason}).")
    if reason.startswith("books_refuse"):
        words = "It is paid, its batch is final, and the books refused its end ({reason})."
    sent_by = intent.batch_id or intent.id
    attempts = (await repository.attempts_of(session, [sent_by]))[sent_by]
    await cases.open_case(
        session,
        kind="payment_in_review",
        subject=intent.id,
        network=intent.network,
        asset=intent.asset,
        what=f"{intent.purpose} {intent.ref} waits for a person; what is held stays held. "
        + words.format(nonce=intent.nonce, address=intent.from_address, reason=reason),
        evidence={
            **_facts(intent),
            "reason": reason,
            "tx_hashes": [one.tx_hash for one in attempts if one.tx_hash is not None],
        },
    )


def _facts(intent: Intent) -> dict[str, object]:
    return {
        "purpose": intent.purpose,
        "ref": intent.ref,
        "amount_minor": str(intent.amount_minor),
        "to_address": intent.to_address,
        "from_address": intent.from_address,
        "nonce": intent.nonce,
        "batch_id": intent.batch_id,
        "mined_block": intent.mined_block,
        "waiting_for": intent.waiting_for,
    }


class LateWatch:
    """Opens a case for every payment of one network that takes too long. Any worker may run it."""

    def __init__(self, db: Database, network: Network) -> None:
        self._db = db
        self._network = network.name
        self._finality_seconds = finality_seconds(network)

    async def tick(self) -> None:
        """One pass. A payment that somebody is at just now is looked at in the next one."""
        async with self._db.transaction() as session:
            for intent, sent_at, hashes, behind in await _late(
                session, self._network, self._finality_seconds
            ):
                await cases.open_case(
                    session,
                    kind="payment_late",
                    subject=intent.id,
                    network=intent.network,
                    asset=intent.asset,
                    what=_late_words(intent, behind),
                    evidence={
                        **_facts(intent),
                        "state": str(intent.state),
                        "first_sent_at": sent_at.isoformat(),
                        "waiting_behind": behind,
                        "tx_hashes": hashes,
                    },
                )
            hit("cases.before_commit_late")
        hit("cases.after_commit_late")


def finality_seconds(network: Network) -> float:
    """How long a mined transaction usually waits to be final on this network."""
    by_depth = network.confirmations * network.block_time_ms / 1000
    if network.finality == "depth":
        return by_depth
    return max(by_depth, TAG_SECONDS) if network.finality == "both" else TAG_SECONDS


def _late_words(intent: Intent, behind: int) -> str:
    if intent.state is State.MINED:
        where = f"it is in block {intent.mined_block}, which is not final"
    else:
        where = f"no block has it; it waits for {intent.waiting_for or 'a block'}"
        if behind:  # whose promise it breaks only a person may say
            where += f", and {behind} behind it for its nonce (bifold chain cancel lets that go)"
    return (
        f"{intent.purpose} {intent.ref} (nonce {intent.nonce} of {intent.from_address}) was first"
        f" sent {LATE_SECONDS // 60} minutes ago or more and has not ended: {where}."
    )


async def _late(
    session: AsyncSession, network: str, final_seconds: float
) -> list[tuple[Intent, Any, list[str], int]]:
    """Payments past their time that have no open case; locked, so that none ends meanwhile."""
    rows = await session.execute(
        text(
            "SELECT i.*, sent.first_at, sent.hashes, (SELECT count(*) FROM chain_intents b"
            "  WHERE b.network = i.network AND b.from_address = i.from_address"
            "  AND b.nonce > i.nonce AND b.state IN ('allocated', 'signed', 'sent')) AS behind"
            " FROM chain_intents i"
            " CROSS JOIN LATERAL (SELECT min(a.late_at) AS late_at, min(a.first_sent_at)"
            "   AS first_at, array_agg(a.tx_hash ORDER BY a.seq)"
            "   FILTER (WHERE a.tx_hash IS NOT NULL) AS hashes"
            "   FROM chain_attempts a WHERE a.intent_id = i.id) AS sent"
            " WHERE i.network = :network AND i.state IN ('allocated', 'signed', 'sent', 'mined')"
            " AND sent.late_at <= bifold_now() - make_interval(secs =>"
            "   CASE WHEN i.state = 'mined' THEN CAST(:final AS float8) ELSE 0 END)"
            " AND NOT EXISTS (SELECT FROM cases c WHERE c.kind = 'payment_late'"
            "   AND c.subject = i.id AND c.status = 'open')"
            " ORDER BY sent.late_at, i.id LIMIT :look FOR UPDATE OF i SKIP LOCKED"
        ),
        {"network": network, "final": final_seconds, "look": LOOK},
    )
    return [(repository.intent_of(row), row.first_at, row.hashes, row.behind) for row in rows]


__all__ = [
    "LateWatch", "finality_seconds", "give_up", "halt_signer", "moved", "nobody_waits",
    "nonce_of_nobody", "resume_signer",
]  # fmt: skip

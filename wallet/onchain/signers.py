"""Queries of signers: the rows under which nonces are given."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

Role = Literal["hot", "warm", "deposit"]
_COLUMNS = "address, next_nonce, halted_reason, deposit_index, role"
COMPROMISED = "compromised"
"""Why an evacuated address is halted: its key may be in other hands, nothing goes there again."""
FOREIGN = "foreign_transaction"
"""Why one is halted that sent what we did not: the same, until an operator has looked."""
LOST = (COMPROMISED, FOREIGN)
NONCE_USED = "signer_nonce_used"
"""Why one is halted whose signer has signed something else at the nonce that was given."""
INTENT_REUSED = "signer_intent_reused"
"""Why one is halted whose signer has signed the same payment at another nonce."""
CONTRADICTED = (FOREIGN, NONCE_USED, INTENT_REUSED)
"""By the chain or the signer, which know more than these books: they may be an old copy."""
STANDBY = "standby"
"""Why one is halted that an evacuation is to put in the place of those that it empties."""


@dataclass(frozen=True, slots=True)
class SignerRow:
    """An address that signs on a network. `next_nonce` is ours to give; halted ones give none.

    With `deposit_index` it is a deposit address, which signs its own sweeps and nothing else; a
    warm one signs what is pinned to it.
    """

    address: str
    next_nonce: int
    halted_reason: str | None
    deposit_index: int | None = None
    role: Role = "hot"


async def all_signers(session: AsyncSession, network: str) -> list[SignerRow]:
    """Every hot and warm address known on the network, and the deposit addresses that have work;
    hot ones first."""
    rows = await session.execute(
        text(
            f"SELECT {_COLUMNS} FROM chain_signers s"
            " WHERE network = :network AND (role IN ('hot', 'warm')"
            "  OR EXISTS (SELECT FROM chain_intents i WHERE i.network = s.network"
            "  AND i.pinned_address = s.address"
            "  AND i.state IN ('queued', 'allocated', 'signed', 'sent', 'mined')))"
            " ORDER BY role = 'hot' DESC, created_at, address"
        ),
        {"network": network},
    )
    return [_row(row) for row in rows]


async def lost_anywhere(session: AsyncSession, *, address: str) -> bool:
    """Whether somebody else may have an address's key: it was given up, or used by a stranger, on
    any network, since a key is the same on all of them."""
    return bool(
        await session.scalar(
            text(
                "SELECT EXISTS (SELECT FROM chain_signers"
                " WHERE address = :address AND halted_reason = ANY(:reasons))"
            ),
            {"address": address, "reasons": list(LOST)},
        )
    )


async def retired(session: AsyncSession, *, network: str, address: str) -> bool:
    """Whether an evacuation has emptied it and put another in its place: it signs no more."""
    return bool(
        await session.scalar(
            text(
                "SELECT EXISTS (SELECT FROM chain_signers WHERE network = :network"
                " AND address = :address AND halted_reason = :reason)"
            ),
            {"network": network, "address": address, "reason": COMPROMISED},
        )
    )


async def emptied(session: AsyncSession, *, network: str, address: str) -> bool:
    """Whether an evacuation has taken all its coins: what is done there since is in nobody's way.
    Nothing else of the treasury leaves at an exact fee."""
    return bool(
        await session.scalar(
            text(
                "SELECT EXISTS (SELECT FROM chain_intents WHERE network = :network"
                " AND from_address = :address AND purpose = 'treasury' AND exact_fee"
                " AND state = 'final_ok')"
            ),
            {"network": network, "address": address},
        )
    )


# Of this database as it runs now: no copy that is restored or takes over has the same.
INSTANCE = (
    "(SELECT concat_ws('/', extract(epoch FROM pg_postmaster_start_time()), oid,"
    " 'network_state'::regclass::oid) FROM pg_database WHERE datname = current_database())"
)


async def compared(session: AsyncSession, network: str, *, within: str | None = None) -> None:
    """All hot addresses' nonces were held against the chain, in this database as it runs now.
    `within`: `INSTANCE` when that began: of one that took over meanwhile it says nothing."""
    await session.execute(
        text(
            f"UPDATE network_state SET compared_in = {INSTANCE} WHERE network = :network"
            f" AND compared_in IS DISTINCT FROM {INSTANCE}"
            f" AND {INSTANCE} = coalesce(CAST(:within AS text), {INSTANCE})"
        ),
        {"network": network, "within": within},
    )


async def were_compared(session: AsyncSession, network: str) -> bool:
    """Whether that was done since this database began to run."""
    return bool(
        await session.scalar(
            text(
                "SELECT EXISTS (SELECT FROM network_state WHERE network = :network"
                f" AND compared_in = {INSTANCE})"
            ),
            {"network": network},
        )
    )


async def may_have_paid(session: AsyncSession, *, network: str, since: datetime | None) -> bool:
    """Whether what was promised at `since`, and has no nonce here, may be paid all the same: after
    that a hot address was found to have done what these books do not know, or to do so now; or
    nobody has looked since this database began to run, and it may be an old copy."""
    return bool(
        await session.scalar(
            text(
                "SELECT EXISTS (SELECT FROM cases c JOIN chain_signers s"
                " ON c.subject = s.network || '/' || s.address WHERE s.network = :network"
                " AND s.role = 'hot' AND (c.kind = 'nonce_of_nobody' AND c.status = 'open'"
                "  OR c.kind = 'signer_halted' AND c.evidence->>'reason' = ANY(:reasons))"
                " AND c.opened_at >= CAST(:since AS timestamptz))"
                " OR NOT EXISTS (SELECT FROM network_state WHERE network = :network"
                f"  AND compared_in = {INSTANCE})"
            ),
            {"network": network, "since": since, "reasons": list(CONTRADICTED)},
        )
    )


def may_give(row: SignerRow, *, emptied: bool) -> bool:
    """Whether it gives nonces. While hot addresses are emptied one does, too, that was halted for
    a stranger's transaction or anything else: only the treasury is given any then, and what is
    there is to be saved."""
    return row.halted_reason is None or (
        emptied and row.role == "hot" and row.halted_reason not in (COMPROMISED, STANDBY)
    )


async def add_signer(
    session: AsyncSession,
    *,
    network: str,
    address: str,
    next_nonce: int,
    deposit_index: int | None = None,
    role: Role | None = None,
) -> None:
    """Know an address from now on; again changes nothing."""
    await session.execute(
        text(
            "INSERT INTO chain_signers (network, address, next_nonce, role, deposit_index)"
            " VALUES (:network, :address, :nonce, :role, :index) ON CONFLICT DO NOTHING"
        ),
        {
            "network": network,
            "address": address,
            "nonce": next_nonce,
            "role": role or ("hot" if deposit_index is None else "deposit"),
            "index": deposit_index,
        },
    )


async def lock_signer(session: AsyncSession, *, network: str, address: str) -> SignerRow:
    """The signer's row, locked: whoever holds it gives the next nonce."""
    row = (
        await session.execute(
            text(
                f"SELECT {_COLUMNS} FROM chain_signers"
                " WHERE network = :network AND address = :address FOR UPDATE"
            ),
            {"network": network, "address": address},
        )
    ).one()
    return _row(row)


async def is_warm(session: AsyncSession, *, network: str, address: str | None) -> bool:
    """Whether it is a warm address: what leaves there needs the signatures of several operators."""
    return bool(
        await session.scalar(
            text(
                "SELECT role = 'warm' FROM chain_signers"
                " WHERE network = :network AND address = :address"
            ),
            {"network": network, "address": address},
        )
    )


async def deposit_index(session: AsyncSession, *, network: str, address: str) -> int | None:
    """Which child of the deposit account it is; None for a hot address."""
    found: int | None = await session.scalar(
        text(
            "SELECT deposit_index FROM chain_signers"
            " WHERE network = :network AND address = :address"
        ),
        {"network": network, "address": address},
    )
    return found


async def set_next_nonce(
    session: AsyncSession, *, network: str, address: str, next_nonce: int, halted_only: bool = False
) -> None:
    """Under `lock_signer` only, or where it is halted. It never goes down."""
    await session.execute(
        text(
            "UPDATE chain_signers SET next_nonce = :nonce"
            " WHERE network = :network AND address = :address AND next_nonce < :nonce"
            " AND (halted_reason IS NOT NULL OR NOT :halted_only)"
        ),
        {
            "network": network,
            "address": address,
            "nonce": next_nonce,
            "halted_only": halted_only,
        },
    )


async def given_nonces(
    session: AsyncSession, *, network: str, address: str, above: int
) -> set[int]:
    """Nonces of this address that payments of these books have."""
    rows = await session.execute(
        text(
            "SELECT nonce FROM chain_intents WHERE network = :network AND from_address = :address"
            " AND nonce > :above"
        ),
        {"network": network, "address": address, "above": above},
    )
    return set(rows.scalars())


async def knows_more(session: AsyncSession, *, network: str, address: str) -> bool:
    """Whether something in review has a nonce of this address at which its signer has signed
    something else, or was signed at another: what nonces have paid is not what they were given
    for."""
    return bool(
        await session.scalar(
            text(
                "SELECT EXISTS (SELECT FROM chain_intents WHERE network = :network"
                " AND from_address = :address AND state = 'in_review' AND reason = ANY(:reasons))"
            ),
            {"network": network, "address": address, "reasons": [NONCE_USED, INTENT_REUSED]},
        )
    )


async def halt_signer(session: AsyncSession, *, network: str, address: str, reason: str) -> bool:
    """Give no more nonces of this address. The first reason stays: False when it was halted.

    What a person must look at is halted by `casework.halt_signer`, which opens a case as well.
    """
    done = await session.execute(
        text(
            "UPDATE chain_signers SET halted_reason = :reason, halted_at = clock_timestamp()"
            " WHERE network = :network AND address = :address AND halted_reason IS NULL RETURNING 1"
        ),
        {"network": network, "address": address, "reason": reason},
    )
    return done.one_or_none() is not None


async def give_up(session: AsyncSession, *, network: str, address: str) -> None:
    """It was emptied and signs nothing any more, whatever it was halted for before. An operator's
    word: to a service the first reason stays (r0035)."""
    await session.execute(
        text(
            "UPDATE chain_signers SET halted_reason = :reason, halted_at = clock_timestamp()"
            " WHERE network = :network AND address = :address"
            " AND halted_reason IS DISTINCT FROM :reason"
        ),
        {"network": network, "address": address, "reason": COMPROMISED},
    )


async def resume_signer(session: AsyncSession, *, network: str, address: str) -> bool:
    """Let a halted address give nonces again. False when it was not halted.

    The operator has made sure that the key is ours alone, and that `next_nonce` is what the chain
    expects: the next allocation compares them and halts again where they differ.
    """
    done = await session.execute(
        text(
            "UPDATE chain_signers SET halted_reason = NULL, halted_at = NULL"
            " WHERE network = :network AND address = :address AND halted_reason IS NOT NULL"
            " RETURNING 1"
        ),
        {"network": network, "address": address},
    )
    return done.one_or_none() is not None


def _row(row: Any) -> SignerRow:
    return SignerRow(row.address, row.next_nonce, row.halted_reason, row.deposit_index, row.role)

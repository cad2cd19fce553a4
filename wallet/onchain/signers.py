"""Queries of signers: the rows under which nonces are given."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True, slots=True)
class SignerRow:
    """A hot address on a network. `next_nonce` is ours to give; halted signers give none."""

    address: str
    next_nonce: int
    halted_reason: str | None


async def all_signers(session: AsyncSession, network: str) -> list[SignerRow]:
    """Every hot address known on the network."""
    rows = await session.execute(
        text(
            "SELECT address, next_nonce, halted_reason FROM chain_signers"
            " WHERE network = :network ORDER BY created_at, address"
        ),
        {"network": network},
    )
    return [SignerRow(row.address, row.next_nonce, row.halted_reason) for row in rows]


async def add_signer(session: AsyncSession, *, network: str, address: str, next_nonce: int) -> None:
    """Know a hot address from now on; again changes nothing."""
    await session.execute(
        text(
            "INSERT INTO chain_signers (network, address, next_nonce)"
            " VALUES (:network, :address, :nonce) ON CONFLICT DO NOTHING"
        ),
        {"network": network, "address": address, "nonce": next_nonce},
    )


async def lock_signer(session: AsyncSession, *, network: str, address: str) -> SignerRow:
    """The signer's row, locked: whoever holds it gives the next nonce."""
    row = (
        await session.execute(
            text(
                "SELECT address, next_nonce, halted_reason FROM chain_signers"
                " WHERE network = :network AND address = :address FOR UPDATE"
            ),
            {"network": network, "address": address},
        )
    ).one()
    return SignerRow(row.address, row.next_nonce, row.halted_reason)


async def set_next_nonce(
    session: AsyncSession, *, network: str, address: str, next_nonce: int
) -> None:
    """Under `lock_signer` only."""
    await session.execute(
        text(
            "UPDATE chain_signers SET next_nonce = :nonce"
            " WHERE network = :network AND address = :address AND next_nonce < :nonce"
        ),
        {"network": network, "address": address, "nonce": next_nonce},
    )


async def halt_signer(session: AsyncSession, *, network: str, address: str, reason: str) -> None:
    """Give no more nonces of this address until an operator has looked. The first reason stays."""
    await session.execute(
        text(
            "UPDATE chain_signers SET halted_reason = :reason, halted_at = clock_timestamp()"
            " WHERE network = :network AND address = :address AND halted_reason IS NULL"
        ),
        {"network": network, "address": address, "reason": reason},
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

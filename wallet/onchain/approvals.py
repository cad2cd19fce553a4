"""Operators' signatures for payments above the signer's limit, or out of warm.

Only what the signer would count is counted here: a row is nothing unless its signature is over this
very payment and by an operator whom the signer's policy names. So no row alone gives a nonce away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.registry import Network
from keys.personal import signer_of
from keys.request import MAX_APPROVALS, ApprovalLimits, approval_text
from keys.signer import Signer
from wallet.crashpoints import hit
from wallet.onchain import repository
from wallet.onchain.repository import Intent


@dataclass(frozen=True, slots=True)
class Approval:
    """An operator's signature for one payment; `by_whom`: the name given with it."""

    operator: str
    signature: bytes
    by_whom: str | None


def wording(network: Network, intent: Intent, *, warm: str | None = None) -> str:
    """The text to sign for one payment. `warm`: the warm address that it leaves, EIP-55."""
    token = network.token(intent.asset)
    return approval_text(
        intent_id=intent.id,
        chain_id=network.chain_id,
        to=intent.to_address,
        asset="native" if token is None else token.contract,
        amount=intent.amount_minor,
        warm=warm,
    )


def counted(
    network: Network,
    intent: Intent,
    given: Iterable[Approval],
    limits: ApprovalLimits,
    *,
    sender: str,
) -> list[bytes]:
    """The signatures that `limits` would count for this payment from `sender`: one an operator, and
    no more than one request carries."""
    words = wording(network, intent, warm=sender if sender in limits.warm else None)
    found = {
        one.operator: one.signature
        for one in given
        if one.operator in limits.operators and signer_of(words, one.signature) == one.operator
    }
    return list(found.values())[:MAX_APPROVALS]


async def told(
    signer: Signer, network: Network, intent: Intent, given: Sequence[Approval], *, sender: str
) -> bytes:
    """The signatures that the signer will count, as a request has them. Raises
    `SignerUnavailable`."""
    limits = (await signer.approval_limits()).get(network.chain_id) if given else None
    if limits is None:
        return b""
    return b"".join(counted(network, intent, given, limits, sender=sender))


async def given_for(
    session: AsyncSession, intent_ids: Sequence[str]
) -> Mapping[str, list[Approval]]:
    """Who is said to have signed for each payment, oldest first; none for those left out."""
    rows = await session.execute(
        text(
            "SELECT intent_id, operator, signature, by_whom FROM chain_approvals"
            " WHERE intent_id = ANY(:ids) ORDER BY created_at, operator"
        ),
        {"ids": list(intent_ids)},
    )
    found: dict[str, list[Approval]] = {}
    for row in rows:
        found.setdefault(row.intent_id, []).append(
            Approval(row.operator, bytes(row.signature), row.by_whom)
        )
    return found


async def approve(session: AsyncSession, intent_id: str, given: Approval) -> bool:
    """Keep a signature; the worker hands it to the signer. False: this operator's is there."""
    kept = await session.scalar(
        text(
            "INSERT INTO chain_approvals (intent_id, operator, signature, by_whom)"
            " VALUES (:id, :operator, :signature, :by) ON CONFLICT (intent_id, operator)"
            " DO NOTHING RETURNING 1"
        ),
        {
            "id": intent_id, "operator": given.operator, "signature": given.signature,
            "by": given.by_whom,
        },
    )  # fmt: skip
    await repository.set_waiting(session, [intent_id], None, queued_only=True)
    hit("approval.before_commit")
    return kept is not None

"""The end of a payment that has its nonce at a hot address whose key is gone, and was never signed.

Neither can it be made there nor outbid, and no other address may have it while it could be mined.
It ends where no bytes of it can exist: none are in these books, which keep bytes before any node
is given them, none are in the signer's journal, and the chain is not past its nonce. What is signed
can be mined for as long as its nonce is free, whoever vouches for what: it is given back by proof
alone (`wallet.onchain.review`). Two people agree, for a signer without a journal cannot say that
these books are an older copy of themselves. Its nonce stays a hole: see `hole`.
"""

from __future__ import annotations

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain import parse
from chain.errors import NodeGarbage, NodeRejected
from chain.votes import COUNT
from wallet import cases
from wallet.errors import InvalidState, NotFound
from wallet.onchain import beside, journal, repository, signers
from wallet.onchain import network as networks
from wallet.onchain.counts import used_for_all
from wallet.onchain.desk import Desk
from wallet.onchain.repository import Intent
from wallet.onchain.states import IN_FLIGHT, State

NEVER_SIGNED = "never_signed"
log = structlog.get_logger(__name__)


async def propose(desk: Desk, intent_id: str, *, by: str) -> Intent:
    """Say that it should end; somebody else agrees. A member of a batch ends with its batch, and
    is made again alone. Raises InvalidState while it may have been signed, or still can be;
    SignerUnavailable, ChainError."""
    intent = await _demand_unsigned(desk, intent_id)
    async with desk.db.transaction() as session:
        await _locked(session, intent)
        opened = await cases.open_case(
            session,
            kind="unsigned_end_proposed",
            subject=intent.id,
            network=intent.network,
            asset=intent.asset,
            what=f"{by} says that {intent.purpose} {intent.ref} was never signed: the signer has no"
            f" key of {intent.from_address}, and nothing of nonce {intent.nonce}. Once somebody"
            " else agrees it ends, and what is held for it is given back.",
            evidence={
                "proposed_by": by,
                "ref": intent.ref,
                "from_address": intent.from_address,
                "nonce": intent.nonce,
                "amount_minor": str(intent.amount_minor),
                "to_address": intent.to_address,
            },
        )
        if opened is None:
            raise InvalidState("That is proposed already; somebody else approves.")
    return intent


async def approve(desk: Desk, intent_id: str, *, by: str) -> Intent:
    """Agree: it ends now, if all that was true still is. Raises as `propose`, and NotFound."""
    intent = await _demand_unsigned(desk, intent_id)
    async with desk.db.transaction() as session:
        await _locked(session, intent)
        found = await session.execute(
            text(
                "SELECT evidence->>'proposed_by' AS by FROM cases"
                " WHERE kind = 'unsigned_end_proposed' AND subject = :id AND status = 'open'"
            ),
            {"id": intent.id},
        )
        row = found.one_or_none()
        if row is None:
            raise NotFound("Nobody has proposed that.")
        if row.by.casefold() == by.casefold():
            raise InvalidState("Somebody else approves what was proposed.")
        for one in (await repository.attempts_of(session, [intent.id]))[intent.id]:
            await repository.store_refused(
                session, intent_id=intent.id, seq=one.seq, reason=NEVER_SIGNED
            )
        done = await desk.move(session, intent.id, State.CANCELLED, by=by, reason=NEVER_SIGNED)
        if done is None:
            raise InvalidState("It has moved meanwhile; look again.")
        await cases.close_all(
            session, kinds=["unsigned_end_proposed"], subjects=[intent.id], by=by,
            note=f"agreed with {row.by}: it was never signed",
        )  # fmt: skip
    log.warning("intent.never_signed", intent=intent.id, proposed_by=row.by, by=by)
    return done


async def hole(session: AsyncSession, *, network: str, address: str, used: int) -> bool:
    """Whether a payment that ended so has left a nonce that the chain waits for: nothing that this
    address signs behind it would be mined. `used`: the chain's count."""
    return bool(
        await session.scalar(
            text(
                "SELECT EXISTS (SELECT FROM chain_intents WHERE network = :network"
                " AND from_address = :address AND nonce >= :used AND state = 'cancelled'"
                " AND reason = :reason)"
            ),
            {"network": network, "address": address, "used": used, "reason": NEVER_SIGNED},
        )
    )


async def _demand_unsigned(desk: Desk, intent_id: str) -> Intent:
    """What is to end: it, or the batch it is in."""
    async with desk.db.transaction() as session:
        asked = await repository.get_intent(session, intent_id)
        intent = await _locked(
            session, await repository.get_intent(session, asked.batch_id or intent_id)
        )
        members = await beside.members(session, intent.id)
        status = await networks.read(session, desk.network)
        doubt = await signers.may_have_paid(session, network=desk.network, since=intent.created_at)
        at = {"network": desk.network, "address": intent.from_address or ""}
        hot = await signers.deposit_index(session, **at) is None
        hot &= not await signers.is_warm(session, **at)
    if not hot:
        raise InvalidState("Its key is one of the vault's words, and comes back with these.")
    if doubt:
        raise InvalidState("This database may be an older copy: it may have been paid already.")
    if status is None or not status.usable:
        raise InvalidState("The node is not answering, or its network stands still.")
    await desk.chain.verify_identity()
    await _demand_gone(desk, intent, members)
    return intent


async def _demand_gone(desk: Desk, intent: Intent, members: list[Intent]) -> None:
    address, nonce = intent.from_address or "", intent.nonce or 0
    if address in await desk.signer.hot_addresses():
        raise InvalidState("The signer has its key: it is made, or cancelled, as any other.")
    signed = await desk.signer.signed_from(
        chain_id=desk.chain.network.chain_id, address=address, nonce=nonce
    )
    if any(one.nonce == nonce for one in signed) or await journal.known(desk, [intent, *members]):
        raise InvalidState("The signer's journal has it: it was signed, and may be mined.")
    if max(await used_for_all(desk.chain, address), await _most(desk, address, "latest")) > nonce:
        raise InvalidState("Something has used its nonce: that ends it, once it is final.")
    try:
        waits = await desk.chain.nonce_in_pool(address) > nonce
    except (NodeRejected, NodeGarbage):  # it says nothing of its pool
        waits = False
    if waits or await _most(desk, address, "pending") > nonce:
        raise InvalidState("A transaction at its nonce waits in the pool: it may be this payment.")


async def _most(desk: Desk, address: str, tag: str) -> int:
    """The highest count that any other one of several nodes tells: what one of them has seen is not
    given back by what another one, which may stand at old data, has not."""
    ask = getattr(desk.chain.rpc, "others", None)
    if ask is None:
        return 0
    told = await ask(COUNT, (address, tag), lambda answer: parse.quantity(answer, COUNT))
    return max((count for _, count in told), default=0)


async def _locked(session: AsyncSession, intent: Intent) -> Intent:
    """As it is now. Raises InvalidState where it has no nonce, or bytes."""
    now = await repository.lock_intent(session, intent.id)
    attempts = (await repository.attempts_of(session, [intent.id]))[intent.id]
    if now.state in IN_FLIGHT and any(one.raw is not None for one in attempts):
        raise InvalidState(
            "It is signed, and can be mined while its nonce is free: nothing is given back before"
            " the chain has used that nonce. What is signed goes on being sent.",
            extra={"state": str(now.state)},
        )
    if now.state is not State.ALLOCATED:
        raise InvalidState("It does not wait with a nonce.", extra={"state": str(now.state)})
    return now

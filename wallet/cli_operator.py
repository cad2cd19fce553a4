"""`bifold chain …` and `bifold deposits …`: what an operator does when something stands still.

Names given by `--by` are kept with what they did; who may run this is decided by who may read the
database's password. The back office will ask for a sign-in of its own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import orjson
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.address import checked
from chain.registry import Network
from wallet import cli_approvals
from wallet.bootstrap import Services, build
from wallet.deposits.arrivals import Arrival, approve, arrivals, propose
from wallet.errors import InvalidField, InvalidState, NotFound
from wallet.followers import followers
from wallet.ids import is_id
from wallet.onchain import (
    Desk,
    TooLate,
    casework,
    let_go,
    never_signed,
    regained,
    repository,
    signers,
    tokens,
)
from wallet.onchain import network as networks
from wallet.onchain.batch import with_batches
from wallet.onchain.counts import used_for_all
from wallet.onchain.finality import final_number
from wallet.onchain.freeze import frozen
from wallet.onchain.review import resolve
from wallet.onchain.states import State
from wallet.settings import Settings
from wallet.sweeps.sweeper import SWEEP, TOP_UP
from wallet.withdrawals import cancel_for, speed_up_for
from wallet.withdrawals.operator import CANCELLED_BY_OPERATOR

OVERDUE_SECONDS = 900.0  # a payment not mined by then is named by `bifold chain status`
log = structlog.get_logger("operator")


async def chain(settings: Settings, chosen: argparse.Namespace) -> int:
    """Show what is halted, or let one thing go on."""
    services = build(settings, role="cli")
    try:
        if chosen.action == "resolve-review":
            return await _resolve(services, chosen)
        if chosen.action in ("end-unsigned", "approve-unsigned"):
            return await end_unsigned(services, chosen)
        if chosen.action in ("cancel", "speed-up"):
            return await _replace(services, chosen)
        if chosen.action == "approvals":
            return await cli_approvals.waiting(services)
        if chosen.action == "approve-payment":
            return await cli_approvals.approve(services, chosen)
        if chosen.action in ("status", "halt-token"):
            async with services.db.transaction() as session:
                if chosen.action == "status":
                    return await _status(session, services)
                return await _halt(session, services, chosen)
        return await resume(services, chosen)
    finally:
        await services.aclose()


async def resume(services: Services, chosen: argparse.Namespace) -> int:
    """Let what is halted go on."""
    if chosen.action == "resume-signer":
        await _regain(services, chosen)
    async with services.db.transaction() as session:
        await _resume(session, chosen)
    what = getattr(chosen, "address", None) or getattr(chosen, "asset", None) or chosen.network
    log.warning("operator.resumed", what=what, network=chosen.network, by=chosen.by)
    print(f"{what} goes on.")
    return 0


async def _regain(services: Services, chosen: argparse.Namespace) -> None:
    """What lost batches paid is found before anything waits for a nonce of that address again."""
    if chosen.network not in services.chains:
        return  # nothing of it can be sent
    desk, address = desk_of(services, chosen.network), checked(chosen.address)
    nonces: set[int] = set()
    if chosen.next_nonce is not None:
        nonces = await regained.never_given(desk, address, next_nonce=chosen.next_nonce)
    elif not await regained.contradicted(desk, address):
        return
    final = await _demand_final(services, chosen)
    for batch_id in await regained.regain(
        desk, address=address, nonces=nonces, final=final, by=chosen.by
    ):
        print(f"{batch_id}: these books had lost it; what it paid is ended.")


async def _resolve(services: Services, chosen: argparse.Namespace) -> int:
    """Only final blocks decide: settled, or given back, or it stays in review. A payment of the
    house's own (a sweep, a move, a batch) goes by the id that its case names."""
    intent_id, network = await _payment(services, chosen.payment)
    done = await resolve(desk_of(services, network), intent_id, by=chosen.by)
    print(f"{chosen.payment}: {done.state} ({done.reason})")
    return 0


async def end_unsigned(services: Services, chosen: argparse.Namespace) -> int:
    """Two people, one after the other, and no bytes of it anywhere."""
    intent_id, network = await _payment(services, chosen.payment)
    desk = desk_of(services, network)
    if chosen.action == "end-unsigned":
        intent = await never_signed.propose(desk, intent_id, by=chosen.by)
        print(f"{intent.id}: its end is proposed; somebody else approves.")
        return 0
    intent = await never_signed.approve(desk, intent_id, by=chosen.by)
    told = f"nonce {intent.nonce} of {intent.from_address} is a hole until something uses it."
    print(f"{intent.id}: {intent.state} ({intent.reason}); {told}")
    return 0


async def _payment(services: Services, payment: str) -> tuple[str, str]:
    """The intent of wdr_… or int_…, and its network. Raises NotFound."""
    async with services.db.transaction() as session:
        row = (
            await session.execute(
                text(
                    "SELECT intent_id, network FROM withdrawals WHERE id = :id"
                    " UNION ALL SELECT id, network FROM chain_intents WHERE id = :id"
                ),
                {"id": payment},
            )
        ).one_or_none()
    if row is None:
        raise NotFound("There is no such payment.")
    return str(row.intent_id), str(row.network)


def desk_of(services: Services, network: str) -> Desk:
    """What it takes to end payments of one network by what its chain shows."""
    told = followers(services.assets, services.networks)
    return with_batches(Desk(services.db, services.chains[network], services.signer, told))


async def _replace(services: Services, chosen: argparse.Namespace) -> int:
    """What its owner may ask for, asked for by the house."""
    if is_id(chosen.withdrawal, "int"):
        return await _let_go(services, chosen)
    async with services.db.transaction() as session:
        if chosen.action == "cancel":
            seen = await cancel_for(
                session, withdrawal_id=chosen.withdrawal, by=chosen.by, assets=services.assets,
                networks=services.networks,
            )  # fmt: skip
        else:
            seen = await speed_up_for(
                session, withdrawal_id=chosen.withdrawal, assets=services.assets,
                networks=services.networks,
            )  # fmt: skip
    log.warning("operator.asked", what=chosen.action, withdrawal=seen.id, by=chosen.by)
    end = "" if seen.status == "cancelled" else "; which transaction is mined decides"
    print(f"{seen.id}: {seen.status}, {chosen.action} asked for{end}.")
    return 0


async def _let_go(services: Services, chosen: argparse.Namespace) -> int:
    """The nonce of a payment of the house's own: a batch, an allowance, a sweep, a move."""
    if chosen.action != "cancel":
        raise InvalidField("A payment of the house's own is outbid by itself.")
    async with services.db.transaction() as session:
        row = (
            await session.execute(
                text("SELECT network, purpose, state FROM chain_intents WHERE id = :id FOR UPDATE"),
                {"id": chosen.withdrawal},
            )
        ).one_or_none()
        if row is None or row.purpose == "withdrawal":
            raise NotFound("There is no such payment of the house's own; a customer's is wdr_….")
        network = services.networks.get(row.network)
        if network is None:
            raise NotFound("There is no such network.")
        if row.state == State.QUEUED and row.purpose in (SWEEP, TOP_UP):
            if not await signers.were_compared(session, row.network):  # it may have been made
                raise InvalidState("No worker has held these books against the signer yet.")
            done = await desk_of(services, row.network).move(
                session, chosen.withdrawal, State.CANCELLED, by=chosen.by,
                reason=CANCELLED_BY_OPERATOR,
            )  # fmt: skip
            if done is None:
                raise _not_now(row.state)
            told = "cancelled; what it would have moved stays for the next."
        else:
            told = await _ask_to_let_go(session, network, chosen)
    log.warning("operator.asked", what="cancel", intent=chosen.withdrawal, by=chosen.by)
    print(f"{chosen.withdrawal}: {told}")
    return 0


async def _ask_to_let_go(
    session: AsyncSession, network: Network, chosen: argparse.Namespace
) -> str:
    try:
        intent, fresh = await let_go(
            session, chosen.withdrawal, bump_percent=network.bump_percent,
            ceiling_wei=network.max_fee_wei, by=chosen.by,
        )  # fmt: skip
    except TooLate as late:
        raise _not_now(late.state) from None
    if fresh:
        reason = intent.reason or CANCELLED_BY_OPERATOR
        await repository.update_intent(session, intent.id, {"reason": reason})
    return f"{intent.state}, cancel asked for; which transaction is mined decides."


def _not_now(state: object) -> InvalidState:
    return InvalidState("It is not at a point where that can be done.", extra={"state": str(state)})


async def _halt(session: AsyncSession, services: Services, chosen: argparse.Namespace) -> int:
    network = services.networks.get(chosen.network)
    if network is None or network.token(chosen.asset) is None:
        raise NotFound("No network of that name lists that token.")
    if not chosen.reason.strip():
        raise InvalidField("Say why.")
    await tokens.halt_token(
        session, network=chosen.network, asset=chosen.asset,
        reason=f"{chosen.reason.strip()} ({chosen.by})",
    )  # fmt: skip
    print(f"{chosen.asset} on {chosen.network} is neither credited nor sent.")
    return 0


async def _demand_final(services: Services, chosen: argparse.Namespace) -> int:
    """The nonce is the chain's count of that address, and all of it is final; up to which block."""
    chain = services.chains.get(chosen.network)
    if chain is None:
        raise NotFound("There is no such network.")
    final = await final_of(services, chosen.network)
    address = checked(chosen.address)
    count = await used_for_all(chain, address)
    if final < 0 or await chain.nonce_at(address, final) != count:
        raise InvalidState("Its newest transactions are not final yet; try again when they are.",
                           extra={"state": "moving"})  # fmt: skip
    if chosen.next_nonce not in (None, count):
        raise InvalidState(f"The chain expects nonce {count} next.", extra={"state": "halted"})
    return final


async def final_of(services: Services, network: str) -> int:
    """Height of the newest block that is final for every node. Raises NotFound, ChainError."""
    chain = services.chains[network]
    async with services.db.transaction() as session:
        status = await networks.read(session, network)
    if status is None:
        raise NotFound("Nothing was seen of this network yet.")
    return await chain.agreed(await final_number(chain, status=status, head=await chain.head()))


async def _resume(session: AsyncSession, chosen: argparse.Namespace) -> None:
    if chosen.action == "resume-network":
        done = await networks.resume(session, chosen.network, by=chosen.by)
    elif chosen.action == "resume-signer":
        done = await casework.resume_signer(
            session, network=chosen.network, address=chosen.address, by=chosen.by,
            next_nonce=chosen.next_nonce,
        )  # fmt: skip
    else:
        done = await tokens.resume_token(
            session, network=chosen.network, asset=chosen.asset, by=chosen.by
        )
    if not done:
        raise NotFound("Nothing of that name is halted.")


async def _status(session: AsyncSession, services: Services) -> int:
    stopped = False
    for name in services.networks:
        status = await networks.read(session, name)
        reason = status.halted_reason if status else None
        well = "halted" if reason else "usable" if status and status.usable else "not usable"
        well = "too dear" if status and status.too_dear else well
        detail = reason or (status.detail if status else "never seen")
        _line("network", name, well, detail)
        stopped |= well != "usable"
        nodes = await session.execute(
            text(
                "SELECT position, state, head_number, detail FROM network_nodes"
                " WHERE network = :network ORDER BY position"
            ),
            {"network": name},
        )
        for node in nodes:
            _line("  node", str(node.position + 1), node.state, node.detail)
        for signer in await signers.all_signers(session, name):
            _line("  signer", signer.address, "halted" if signer.halted_reason else "signing",
                  signer.halted_reason or f"next nonce {signer.next_nonce}")  # fmt: skip
            stopped |= signer.halted_reason is not None
        if (freeze := await frozen(session, name)) is not None:
            _line("  freeze", "payments of customers", "waiting", freeze.reason)
            stopped = True
        for asset, why in (await tokens.halted(session, name)).items():
            _line("  token", asset, "halted", why)
            stopped = True
        for late in await repository.overdue(session, name, seconds=OVERDUE_SECONDS):
            _line("  payment", late.id, late.state,
                  f"{late.waiting_for or late.reason or 'no word yet'}"
                  f", promised {int(late.age_seconds // 60)} min ago")  # fmt: skip
            stopped = True
    return int(stopped)


def _line(*parts: str) -> None:
    kind, name, state, detail = parts
    print(f"{kind:<9} {name:<44} {state:<11} {detail}".rstrip())


async def deposits(settings: Settings, chosen: argparse.Namespace) -> int:
    """List unattributed arrivals, propose an owner, or approve a proposal."""
    services = build(settings, role="cli")
    try:
        async with services.db.transaction() as session:
            if chosen.action == "unattributed":
                return _show(await arrivals(session, services.assets), as_json=chosen.json)
            if chosen.action == "propose":
                done = await propose(
                    session, arrival_id=chosen.arrival, principal_id=chosen.to,
                    tx_hash=chosen.tx, by=chosen.by, assets=services.assets,
                )  # fmt: skip
                print(f"{done.id}: {done.money} for {done.principal_id}; somebody else approves.")
                return 0
            done = await approve(
                session, arrival_id=chosen.arrival, principal_id=chosen.to, by=chosen.by,
                assets=services.assets,
            )  # fmt: skip
        print(f"{done.id}: {done.money} credited to {done.principal_id} as {done.deposit_id}.")
        return 0
    finally:
        await services.aclose()


def _show(found: Sequence[Arrival], *, as_json: bool) -> int:
    if as_json:
        document: list[dict[str, Any]] = [
            {
                "id": one.id, "network": one.network, "address": one.address,
                "money": one.money.json(), "at_block": one.at_block,
                "proposed_for": one.principal_id, "proposed_by": one.proposed_by,
                "tx_hash": one.tx_hash,
            }
            for one in found
        ]  # fmt: skip
        sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        for one in found:
            owner = f"proposed for {one.principal_id} by {one.proposed_by}"
            print(f"{one.id}  {one.network}  {one.address}  {one.money}  block {one.at_block}"
                  + (f"  {owner}" if one.principal_id else ""))  # fmt: skip
        if not found:
            print("Nothing is unattributed.")
    return int(bool(found))

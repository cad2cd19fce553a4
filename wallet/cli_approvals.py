"""`bifold chain approvals|approve-payment`: payments above the signer's limit, or out of warm.

The operator signs a text that names the payment (EIP-191), in any wallet or from a key file; the
signer checks it against the operators in its own policy. This command only carries it. Out of warm
several must sign, none of them who proposed the move.
"""

from __future__ import annotations

import argparse
import getpass

import structlog
from eth_account import Account
from eth_account.messages import encode_defunct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from keys.keystore import decrypt, read
from keys.personal import signer_of
from keys.secret import SecretText
from wallet.bootstrap import Services
from wallet.cli_files import naming
from wallet.errors import FourEyesRequired, InvalidField, NotFound
from wallet.onchain import approvals, repository, signers
from wallet.onchain.approvals import Approval, wording
from wallet.onchain.repository import Intent
from wallet.onchain.states import State

log = structlog.get_logger("operator")


async def waiting(services: Services) -> int:
    """Print each payment that waits and the text to sign; 1 while there are any."""
    async with services.db.transaction() as session:
        rows = await session.execute(
            text(
                "SELECT id FROM chain_intents WHERE state = 'queued' AND waiting_for = 'approval'"
                " ORDER BY created_at, id"
            )
        )
        found = []
        for row in rows.all():
            intent = await repository.get_intent(session, row.id)
            warm = await _warm(session, intent)
            given = await approvals.given_for(session, [intent.id])
            found.append((intent, warm, given.get(intent.id, [])))
    if not found:
        print("No payment waits for an operator's signature.")
    for intent, warm, signed in found:
        money = services.assets.money(intent.asset, intent.amount_minor)
        print(f"{intent.id}: {intent.purpose} {intent.ref}, {money} to {intent.to_address}")
        if warm:
            print("  out of warm: several operators sign (--by), not who proposed it")
        for one in signed:
            print(f"  signed by {one.operator}" + (f" ({one.by_whom})" if one.by_whom else ""))
        for line in wording(services.networks[intent.network], intent, warm=warm).splitlines():
            print(f"    {line}")
    return int(bool(found))


async def approve(services: Services, chosen: argparse.Namespace) -> int:
    """Keep an operator's signature; the worker hands it to the signer."""
    async with services.db.transaction() as session:
        intent = await _found(session, chosen.intent)
        if warm := await _warm(session, intent):
            await _another(session, intent, chosen.by)
        message = wording(services.networks[intent.network], intent, warm=warm)
        signature = _signature(chosen, message)
        operator = signer_of(message, signature)
        if operator is None:
            raise InvalidField("That is no signature over this payment's text.")
        given = Approval(operator, signature, chosen.by)
        if not await approvals.approve(session, intent.id, given):
            more = ": another operator must" if warm else ""
            raise InvalidField(f"{operator} has signed for it already{more}.")
    log.warning("operator.approved", intent=intent.id, operator=operator, by=chosen.by)
    print(f"{intent.id}: approved by {operator}, if the signer's policy names it.")
    return 0


async def _warm(session: AsyncSession, intent: Intent) -> str | None:
    """The warm address that it leaves, if it does."""
    sender = intent.pinned_address
    return (
        sender if await signers.is_warm(session, network=intent.network, address=sender) else None
    )


async def _another(session: AsyncSession, intent: Intent, by: str | None) -> None:
    """Who signs for a move out of warm is neither who proposed it nor who signed already."""
    if by is None:
        raise InvalidField("Out of warm several people sign: say who you are with --by.")
    proposed_by = await session.scalar(
        text("SELECT proposed_by FROM treasury_moves WHERE intent_id = :id"), {"id": intent.id}
    )
    if by == proposed_by:
        raise FourEyesRequired("Another operator than the one who proposed it must sign for it.")
    given = await approvals.given_for(session, [intent.id])
    if any(one.by_whom == by for one in given.get(intent.id, ())):
        raise FourEyesRequired(f"{by} has signed for it already: another operator must.")


async def _found(session: AsyncSession, intent_id: str) -> Intent:
    known = await session.scalar(
        text("SELECT 1 FROM chain_intents WHERE id = :id"), {"id": intent_id}
    )
    if known is None:
        raise NotFound("There is no such payment.")
    intent = await repository.get_intent(session, intent_id)
    if intent.state is not State.QUEUED:
        raise InvalidField("It is not waiting any more.")
    return intent


def _signature(chosen: argparse.Namespace, message: str) -> bytes:
    if chosen.signature is not None:
        try:
            return bytes.fromhex(chosen.signature.removeprefix("0x"))
        except ValueError:
            raise InvalidField("The signature is not hexadecimal.") from None
    with naming("key file", chosen.keystore):
        document = read(chosen.keystore)
    key = decrypt(document, SecretText(getpass.getpass("Password of the key file: ")))
    signed = Account.sign_message(encode_defunct(text=message), key.reveal())
    return bytes(signed.signature)

"""`bifold chain approvals|approve-payment`: payments above the signer's own limit.

The operator signs a text that names the payment (EIP-191), in any wallet or from a key file; the
signer checks it against the operators in its own policy. This command only carries it.
"""

from __future__ import annotations

import argparse
import getpass

import structlog
from eth_account import Account
from eth_account.messages import encode_defunct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.registry import Network
from keys.desk import approver
from keys.keystore import decrypt, read
from keys.request import approval_text
from keys.secret import SecretText
from wallet.bootstrap import Services
from wallet.errors import InvalidField, NotFound
from wallet.onchain import repository
from wallet.onchain.repository import Intent
from wallet.onchain.states import State

log = structlog.get_logger("operator")


def wording(network: Network, intent: Intent) -> str:
    """The text to sign for one payment."""
    token = network.token(intent.asset)
    return approval_text(
        intent_id=intent.id,
        chain_id=network.chain_id,
        to=intent.to_address,
        asset="native" if token is None else token.contract,
        amount=intent.amount_minor,
    )


async def waiting(services: Services) -> int:
    """Print each payment that waits and the text to sign; 1 while there are any."""
    async with services.db.transaction() as session:
        rows = await session.execute(
            text(
                "SELECT id FROM chain_intents WHERE state = 'queued' AND waiting_for = 'approval'"
                " ORDER BY created_at, id"
            )
        )
        intents = [await repository.get_intent(session, row.id) for row in rows.all()]
    if not intents:
        print("No payment waits for an operator's signature.")
    for intent in intents:
        money = services.assets.money(intent.asset, intent.amount_minor)
        print(f"{intent.id}: {intent.purpose} {intent.ref}, {money} to {intent.to_address}")
        for line in wording(services.networks[intent.network], intent).splitlines():
            print(f"    {line}")
    return int(bool(intents))


async def approve(services: Services, chosen: argparse.Namespace) -> int:
    """Keep an operator's signature; the worker hands it to the signer."""
    async with services.db.transaction() as session:
        intent = await _found(session, chosen.intent)
        message = wording(services.networks[intent.network], intent)
        signature = _signature(chosen, message)
        operator = approver(message, signature)
        if operator is None:
            raise InvalidField("That is no signature over this payment's text.")
        await session.execute(
            text(
                "INSERT INTO chain_approvals (intent_id, operator, signature)"
                " VALUES (:id, :operator, :signature) ON CONFLICT (intent_id) DO NOTHING"
            ),
            {"id": intent.id, "operator": operator, "signature": signature},
        )
        await repository.set_waiting(session, [intent.id], None, queued_only=True)
    log.warning("operator.approved", intent=intent.id, operator=operator)
    print(f"{intent.id}: approved by {operator}, if the signer's policy names it.")
    return 0


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
    password = SecretText(getpass.getpass("Password of the key file: "))
    key = decrypt(read(chosen.keystore), password)
    signed = Account.sign_message(encode_defunct(text=message), key.reveal())
    return bytes(signed.signature)

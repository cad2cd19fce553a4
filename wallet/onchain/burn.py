"""Ganache's trap: it runs a transaction with nonce 0 again each time the same bytes are sent.

So nothing of value is ever sent with nonce 0 there. The hot address first pays nothing to itself,
with bytes that are stored before they leave; sent once, its gas booked at finality. Only then does
the address become a signer. Every other nonce behaves on Ganache as on other nodes.
"""

from __future__ import annotations

from datetime import UTC, datetime

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.blocks import Receipt
from chain.transactions import PLAIN_TRANSFER_GAS, TxFields, encode_unsigned, signed_matches
from keys.errors import SignerRefused
from wallet import ledger
from wallet.crashpoints import hit
from wallet.ledger import accounts
from wallet.money import Money, chain_asset
from wallet.onchain.desk import Desk

GANACHE = "Ganache/"
NATIVE_DECIMALS = 18
SEND_AGAIN_SECONDS = 120.0  # a node mines in seconds, but a busy one is slow to say so
_DUE = "coalesce(sent_at < clock_timestamp() - make_interval(secs => :wait), true)"
log = structlog.get_logger(__name__)


def must_burn(client_version: str) -> bool:
    """Whether this node has the trap."""
    return client_version.startswith(GANACHE)


async def burnt(desk: Desk, address: str, *, final: int) -> bool:
    """Whether nonce 0 is used up for good; does the next step towards that when it is not."""
    async with desk.db.transaction() as session:
        row = (
            await session.execute(
                text(
                    f"SELECT raw, tx_hash, entry_id, {_DUE} AS due FROM nonce_burns"
                    " WHERE network = :network AND address = :address"
                ),
                {"network": desk.network, "address": address, "wait": SEND_AGAIN_SECONDS},
            )
        ).one_or_none()
    if row is None:
        if await desk.chain.nonce(address) > 0:
            return True  # somebody used it before us: nothing of ours can be there
        await _prepare(desk, address)
        return False
    if row.entry_id is not None:
        return True
    [receipt] = await desk.chain.receipts([row.tx_hash])
    if receipt is None:
        # Sent a second time it would run a second time, and that gas is in no book: a slow node
        # is given time first, and one that has it and waits for a block is sent nothing.
        [there] = await desk.chain.known([row.tx_hash])
        if row.due and not there and await desk.chain.nonce(address) == 0:
            await _send(desk, address, bytes(row.raw))
        return False
    if receipt.block_number > final:
        return False
    await _book(desk, address, receipt)
    return True


async def _prepare(desk: Desk, address: str) -> None:
    fees = await desk.chain.fees()
    fields = TxFields(
        chain_id=desk.chain.network.chain_id, nonce=0, tip=fees.tip, cap=fees.cap,
        gas=PLAIN_TRANSFER_GAS, to=address, value=0,
    )  # fmt: skip
    try:
        # To the signer it is a cancel: that may be asked for again with other fees.
        signed = await desk.signer.sign_transaction(
            address=address, payload=encode_unsigned(fields),
            intent_id=f"burn/{desk.network}/{address}", kind="cancel",
        )  # fmt: skip
    except SignerRefused as error:
        log.error("signer.unsafe_first_nonce", network=desk.network, reason=error.reason)
        return
    if not signed_matches(signed.raw, fields, address):
        log.error("signer.answered_other_bytes", network=desk.network, address=address)
        return
    async with desk.db.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO nonce_burns (network, address, raw, tx_hash)"
                " VALUES (:network, :address, :raw, :hash) ON CONFLICT DO NOTHING"
            ),
            {
                "network": desk.network, "address": address, "raw": signed.raw,
                "hash": signed.tx_hash,
            },
        )  # fmt: skip
        hit("burn.before_commit")
    hit("burn.after_commit")


async def _send(desk: Desk, address: str, raw: bytes) -> None:
    """It counts as sent from before it is: a node that is slow to answer may have it. Of passes
    side by side (a worker's loop and a job that was just asked for, two workers) one sends."""
    async with desk.db.transaction() as session:
        mine = await session.scalar(
            text(
                "UPDATE nonce_burns SET sent_at = clock_timestamp()"
                f" WHERE network = :network AND address = :address AND {_DUE} RETURNING 1"
            ),
            {"network": desk.network, "address": address, "wait": SEND_AGAIN_SECONDS},
        )
    if mine is None:
        return
    outcome = await desk.chain.send_raw(raw)
    log.info("burn.sent", network=desk.network, address=address, outcome=str(outcome.kind))


async def _book(desk: Desk, address: str, receipt: Receipt) -> None:
    """The gas it burnt is the house's expense, once."""
    code = desk.chain.network.native_asset
    gas = Money(receipt.fee_wei, chain_asset(code, "native", NATIVE_DECIMALS, code))
    async with desk.db.transaction() as session:
        if not await _lock_unbooked(session, desk.network, address):
            return
        entry_id = await ledger.post(
            session,
            ledger.Command(
                kind="nonce_burn",
                ref=f"{desk.network}/{address}",
                event_at=datetime.now(UTC),
                meta={"network": desk.network, "tx_hash": receipt.tx_hash},
                lines=[
                    ledger.Line(
                        accounts.gas_expense(desk.network, code), Money(-gas.minor, gas.asset)
                    ),
                    ledger.Line(accounts.on_chain(desk.network, code, "hot"), gas),
                ],
            ),
        )
        await session.execute(
            text(
                "UPDATE nonce_burns SET entry_id = :entry"
                " WHERE network = :network AND address = :address"
            ),
            {"network": desk.network, "address": address, "entry": entry_id},
        )
        hit("burn.before_commit_booked")
    hit("burn.after_commit_booked")


async def _lock_unbooked(session: AsyncSession, network: str, address: str) -> bool:
    found = await session.scalar(
        text(
            "SELECT 1 FROM nonce_burns WHERE network = :network AND address = :address"
            " AND entry_id IS NULL FOR UPDATE"
        ),
        {"network": network, "address": address},
    )
    return found is not None


async def unbooked(session: AsyncSession, network: str) -> list[str]:
    """Hashes of burns whose gas is not in the books yet, for the reconciliation."""
    rows = await session.execute(
        text("SELECT tx_hash FROM nonce_burns WHERE network = :network AND entry_id IS NULL"),
        {"network": network},
    )
    return list(rows.scalars())

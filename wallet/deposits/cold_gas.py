"""Gas that cold addresses pay: nobody here sends for them, so it is read from the blocks."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.blocks import Block, BlockRef, Receipt
from chain.client import ChainClient
from chain.errors import NodeGarbage
from wallet import ledger
from wallet.crashpoints import hit
from wallet.db import Database
from wallet.deposits.lineage import block_time
from wallet.ledger import accounts
from wallet.money import AssetBook, Money

Burnt = tuple[str, Receipt, BlockRef]
"""EIP-55 address of a cold wallet, the receipt of what it sent, and the block."""


async def burnt(chain: ChainClient, block: Block, cold: dict[str, str]) -> list[Burnt]:
    """What cold addresses (lower-case → EIP-55) sent in this block. Raises NodeGarbage."""
    sent = [tx for tx in block.transactions if tx.from_address in cold]
    if not sent:
        return []
    receipts = await chain.receipts([tx.hash for tx in sent])
    found = []
    for tx, receipt in zip(sent, receipts, strict=True):
        if receipt is None or receipt.block_hash != block.hash:
            raise NodeGarbage("a transaction's receipt is missing or from another block")
        if receipt.fee_wei > 0:
            found.append((cold[tx.from_address], receipt, block.ref))
    return found


async def keep(session: AsyncSession, network: str, found: Sequence[Burnt]) -> None:
    """With the block's other rows. A transaction that is booked stays where it was booked."""
    for address, receipt, block in found:
        await session.execute(
            text(
                "INSERT INTO cold_gas (network, tx_hash, block_hash, block_number, block_time,"
                " address, fee_minor) VALUES (:network, :tx, :hash, :number, :time, :address,"
                " :fee) ON CONFLICT DO NOTHING"
            ),
            {
                "network": network, "tx": receipt.tx_hash, "hash": block.hash,
                "number": block.number, "time": block_time(block), "address": address,
                "fee": receipt.fee_wei,
            },
        )  # fmt: skip


async def forget_above(session: AsyncSession, network: str, number: int) -> None:
    """Those blocks are left: what is mined again is seen again."""
    await session.execute(
        text(
            "DELETE FROM cold_gas WHERE network = :network AND block_number > :number"
            " AND entry_id IS NULL"
        ),
        {"network": network, "number": number},
    )


async def open_final(session: AsyncSession, network: str, *, limit: int) -> list[str]:
    """Hashes of final transactions whose gas is not booked."""
    rows = await session.execute(
        text(
            "SELECT g.tx_hash FROM cold_gas g JOIN scan_state s ON s.network = g.network"
            " AND s.final_number >= g.block_number WHERE g.network = :network"
            " AND g.entry_id IS NULL ORDER BY g.block_number, g.tx_hash LIMIT :limit"
        ),
        {"network": network, "limit": limit},
    )
    return list(rows.scalars())


async def book(db: Database, assets: AssetBook, chain: ChainClient, tx_hash: str) -> bool:
    """One expense, once, if the transaction is final in the lineage. Safe to repeat."""
    network = chain.network
    async with db.transaction() as session:
        row = (
            await session.execute(
                text(
                    "SELECT g.* FROM cold_gas g JOIN scan_state s ON s.network = g.network"
                    " AND s.final_number >= g.block_number JOIN chain_blocks b"
                    " ON b.network = g.network AND b.number = g.block_number"
                    " AND b.hash = g.block_hash WHERE g.network = :network AND g.tx_hash = :tx"
                    " AND g.entry_id IS NULL FOR UPDATE OF g, s"
                ),
                {"network": network.name, "tx": tx_hash},
            )
        ).one_or_none()
        if row is None:
            return False
        fee = assets.money(network.native_asset, int(row.fee_minor))
        entry_id = await ledger.post(
            session,
            ledger.Command(
                kind="cold_gas",
                ref=tx_hash,
                event_at=row.block_time,
                meta={"network": network.name, "address": row.address, "tx_hash": tx_hash},
                lines=[
                    ledger.Line(accounts.on_chain(network.name, fee.asset.code, "cold"), fee),
                    ledger.Line(
                        accounts.gas_expense(network.name, fee.asset.code),
                        Money(-fee.minor, fee.asset),
                    ),
                ],
            ),
        )
        await session.execute(
            text(
                "UPDATE cold_gas SET entry_id = :entry WHERE network = :network AND tx_hash = :tx"
            ),
            {"entry": entry_id, "network": network.name, "tx": tx_hash},
        )
        hit("cold_gas.before_commit_booked")
    return True

"""On a real chain: what a break pauses does not leave, and leaves when somebody has looked."""

from __future__ import annotations

import psycopg
from sqlalchemy import text

from tests.seam_fixtures import db, seam
from wallet import audits
from wallet.db import Database
from wallet.testing.databases import ScratchDatabase
from wallet.testing.seam import Seam

__all__ = ["db", "seam"]
PAYEE = "0x000000000000000000000000000000000a0d1757"


async def pause(database: ScratchDatabase, asset: str) -> None:
    with psycopg.connect(database.conninfo("bifold_audit"), autocommit=True) as auditor:
        auditor.execute(
            "SELECT audit_record(jsonb_build_object('started_at', now(), 'after_posting', -1,"
            " 'postings', 1, 'seconds', 1, 'chains', '[]'::jsonb, 'findings', jsonb_build_array("
            " jsonb_build_object('code', 'chain_deficit', 'means', 'x', 'subject', 'x', 'asset',"
            " %s::text, 'expected', '2', 'found', '1', 'pauses', true, 'fingerprint', 'x'))))",
            (asset,),
        )


async def accept(database: ScratchDatabase, asset: str) -> None:
    operators = Database(database.operator_url)
    async with operators.transaction() as session:
        await audits.accept(session, subject=asset, run_id=1, by="ada", note="the node was wrong")
    await operators.dispose()


async def test_only_the_broken_asset_waits(seam: Seam, database: ScratchDatabase) -> None:
    ada = await seam.funded_person()
    await pause(database, "USDC")
    async with seam.db.transaction() as session:
        assert await audits.act(session) == 1
    coin = await seam.withdraw(ada, "1", "ETH", PAYEE)
    token = await seam.withdraw(ada, "5", "USDC", PAYEE)
    await seam.finish()
    assert (await seam.withdrawal(ada, coin.id)).status == "settled"
    waits = await seam.withdrawal(ada, token.id)
    assert (waits.status, waits.waiting_for) == ("held", "review")
    assert await seam.on_chain(PAYEE, "USDC") == 0
    await accept(database, "USDC")
    await seam.finish()
    assert (await seam.withdrawal(ada, token.id)).status == "settled"
    assert await seam.on_chain(PAYEE, "USDC") == 5_000_000


async def test_a_pause_that_comes_in_between_is_seen_under_the_signers_lock(
    seam: Seam, database: ScratchDatabase
) -> None:
    """The last look is in the transaction that would give the nonce."""
    ada = await seam.funded_person()
    await seam.withdraw(ada, "1", "ETH", PAYEE)
    await seam.finish()
    made = await seam.withdraw(ada, "1", "ETH", PAYEE)
    await pause(database, "ETH")
    async with seam.db.transaction() as session:
        await audits.act(session)
    [intent] = await seam.rows("SELECT id FROM chain_intents WHERE state = 'queued'")
    hot = (await seam.signer.hot_addresses())[0]
    async with seam.db.transaction() as session:
        preparer = seam.runner._preparer
        assert not await preparer._allocate(session, intent.id, hot, 10**9, 10**10, 1)
    assert (await seam.withdrawal(ada, made.id)).waiting_for == "review"
    async with seam.db.transaction() as session:
        nonces = await session.scalar(text("SELECT count(*) FROM chain_intents WHERE nonce >= 0"))
    assert nonces == 1

"""A cent that only the bank knows of: a case after two readings, and a correction that books it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
import pytest
from sqlalchemy import text

from tests.payouts.conftest import world
from tests.payouts.test_payouts_reconcile import lively, shift
from wallet import cases
from wallet.corrections import service
from wallet.corrections.document import read_batch
from wallet.db import Database
from wallet.reconcile import ReconcileWatch
from wallet.testing.databases import ScratchDatabase
from wallet.testing.payments import PaymentWorld

__all__ = ["world"]
BANK = "bank:simbank:MXN"


@pytest.fixture
async def tamperer(database: ScratchDatabase) -> AsyncIterator[Database]:
    """Somebody with more rights than the application has."""
    db = Database(database.owner_url)
    yield db
    await db.dispose()


@pytest.fixture
async def operators(database: ScratchDatabase) -> AsyncIterator[Database]:
    db = Database(database.operator_url)
    yield db
    await db.dispose()


async def correct(
    operators: Database, world: PaymentWorld, reference: str | None, bank: str, cost: str
) -> None:
    """Ada proposes, Bob approves."""
    document = {
        "reason": "the bank charged a cent",
        "entries": [
            {
                "note": "as its statement says",
                "reference": reference,
                "postings": [
                    {"account": BANK, "amount": bank},
                    {"account": "expense:correction:MXN", "amount": cost},
                ],
            }
        ],
    }
    async with operators.transaction() as session:
        made = await service.propose_entries(
            session, read_batch(orjson.dumps(document)), by="ada", assets=world.assets
        )
    async with operators.transaction() as session:
        await service.approve(session, made.id, by="bob", assets=world.assets)


async def test_one_cent_is_a_case_and_is_booked_by_its_reference(
    world: PaymentWorld, tamperer: Database, operators: Database
) -> None:
    reference = await lively(world)
    watching = ReconcileWatch(world.db, {}, world.assets)
    assert (await watching.tick()).outcome == "agrees"
    async with tamperer.transaction() as session:
        await shift(session, reference, -1)
        await session.execute(
            text("UPDATE simbank.accounts SET balance_minor = balance_minor - 1"
                 " WHERE asset = 'MXN'")
        )  # fmt: skip
    for _ in range(2):
        assert (await watching.tick()).outcome == "differs"
    async with world.db.transaction() as session:
        [one] = await cases.listed(session)
    assert (one.kind, one.subject, one.network) == ("books_differ", BANK, None)
    assert "0.01 MXN (1 of the smallest unit) less is there" in one.what
    assert f"{reference} is off by -1" in one.what
    # The bank has a cent less: the account of side D is credited, the cost is the house's.
    await correct(operators, world, reference, "0.01", "-0.01")
    assert (await watching.tick()).outcome == "agrees"
    async with world.db.transaction() as session:
        [one] = await cases.listed(session, open_only=False)
    assert one.status == "closed"

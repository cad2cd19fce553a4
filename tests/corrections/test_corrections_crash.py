"""A death on the way of a correction."""

from __future__ import annotations

import pytest

from tests.corrections.test_corrections import approve, entries, paid, propose_reversal, total
from wallet import crashpoints
from wallet.db import Database


@pytest.mark.crash
async def test_a_death_before_the_commit_leaves_it_proposed(db: Database) -> None:
    """Nothing of it is in the books, and it can be agreed to again, once."""
    ada, bob, entry = await paid(db)
    made = await propose_reversal(db, entry)
    before = await entries(db)

    def die(point: str) -> None:
        if point == "correction.before_commit":
            raise KeyboardInterrupt

    crashpoints.install(die)
    try:
        with pytest.raises(KeyboardInterrupt):
            await approve(db, made)
    finally:
        crashpoints.install(None)
    assert await entries(db) == before
    async with db.transaction() as session:
        assert [await total(session, who) for who in (ada, bob)] == [60, 40]
    assert (await approve(db, made)).state == "posted"
    async with db.transaction() as session:
        assert [await total(session, who) for who in (ada, bob)] == [100, 0]
    assert await entries(db) == before + 1

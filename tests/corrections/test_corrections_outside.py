"""Where the outside says what there is, a correction only makes a shown difference smaller."""

from __future__ import annotations

import psycopg
import pytest

from tests.reconcile.test_reconcile_watch import HOT, found, shift, watch
from wallet.corrections import service
from wallet.corrections.document import read_batch
from wallet.corrections.service import Correction
from wallet.errors import InvalidField
from wallet.testing.databases import ScratchDatabase
from wallet.testing.seam import Seam

WEI = "0.000000000000000001"


async def propose(seam: Seam, hot: str, cost: str, *, by: str = "ada") -> Correction:
    """Move so much on the hot wallet's account against the expense of corrections."""
    raw = (
        '{"reason": "one wei", "entries": [{"note": "what the chain says", "postings": ['
        f'{{"account": "{HOT}", "amount": "{hot}"}},'
        f'{{"account": "expense:correction:ETH", "amount": "{cost}"}}]}}]}}'
    )
    async with seam.db.transaction() as session:
        return await service.propose_entries(
            session, read_batch(raw.encode()), by=by, assets=seam.assets
        )


async def approve(seam: Seam, made: Correction) -> Correction:
    async with seam.db.transaction() as session:
        return await service.approve(session, made.id, by="bob", assets=seam.assets)


async def test_what_agrees_is_not_touched(seam: Seam) -> None:
    await watch(seam).tick()
    for hot, cost in ((WEI, f"-{WEI}"), (f"-{WEI}", WEI)):
        with pytest.raises(InvalidField, match="would make the books wrong"):
            await propose(seam, hot, cost)


@pytest.mark.parametrize("wei", [2, -2])
async def test_a_difference_is_booked_to_the_unit_and_its_case_closes(seam: Seam, wei: int) -> None:
    """The chain has 2 wei more (or less) than the books: an entry that says so, once."""
    watching = watch(seam)
    await shift(seam, wei)
    await watching.tick()
    towards, away = ("-", "") if wei > 0 else ("", "-")
    two, three = WEI.replace("1", "2"), WEI.replace("1", "3")
    with pytest.raises(InvalidField, match="two readings"):
        await propose(seam, towards + two, away + two)  # one reading has shown it
    await watching.tick()
    for hot, cost in ((away + two, towards + two), (towards + three, away + three)):
        with pytest.raises(InvalidField, match="may only make that smaller"):
            await propose(seam, hot, cost)
    made = await propose(seam, towards + two, away + two)
    rival = await propose(seam, towards + two, away + two, by="eve")
    await approve(seam, made)
    with pytest.raises(InvalidField, match="corrected since its last reading"):
        await approve(seam, rival)
    assert (await watching.tick()).outcome == "agrees"
    [one] = await found(seam)
    assert (one.subject, one.status) == (HOT, "closed")
    with pytest.raises(InvalidField, match="would make the books wrong"):
        await approve(seam, rival)
    assert await seam.differences() == []


async def test_an_old_reading_is_no_reason(seam: Seam, database: ScratchDatabase) -> None:
    watching = watch(seam)
    await shift(seam, 1)
    await watching.tick()
    await watching.tick()
    made = await propose(seam, f"-{WEI}", WEI)
    with psycopg.connect(database.conninfo("bifold_owner")) as owner:
        owner.execute("UPDATE reconcile_runs SET started_at = started_at - interval '6 minutes'")
    with pytest.raises(InvalidField, match="was not read in the last 300 s"):
        await approve(seam, made)
    await watching.tick()
    await approve(seam, made)
    assert (await watching.tick()).outcome == "agrees"

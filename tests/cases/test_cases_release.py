"""Deposits that were set aside: two people book one, where its coins lie."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from chain.testing import AnvilProcess
from tests.cases.conftest import Command, all_cases
from tests.cases.test_cases_arrivals import halted
from tests.faults_receive.conftest import Inbox, inbox
from wallet.db import Database
from wallet.deposits import release
from wallet.deposits.credit import Crediter
from wallet.errors import FourEyesRequired, InvalidField, InvalidState, NotFound
from wallet.testing.databases import ScratchDatabase
from wallet.testing.operators import as_operator
from wallet.testing.seam import Seam

__all__ = ["inbox"]
USDC = 10**6


async def halted_arrival(inbox: Inbox, amount: str = "3") -> str:
    """A deposit of a token that is halted while it comes; its id."""
    seam = inbox.seam
    await halted(seam)
    await seam.pay_in(inbox.address, amount, "USDC")
    await seam.arrive()
    return await aside(seam)


async def aside(seam: Seam) -> str:
    """The newest that is set aside."""
    rows = await seam.rows(
        "SELECT id FROM deposits WHERE status = 'quarantined' AND entry_id IS NULL"
        " ORDER BY created_at DESC LIMIT 1"
    )
    return str(rows[0].id)


async def propose(bifold: Command, deposit: str, by: str = "ada") -> None:
    await bifold("deposits", "release", deposit, "--reason", "it was a blip", "--by", by)


async def approve(bifold: Command, deposit: str, by: str = "ben") -> int:
    return await bifold("deposits", "approve-release", deposit, "--by", by)


async def proposed_early(inbox: Inbox, bifold: Command) -> str:
    """One that is proposed before its block is final."""
    await halted(inbox.seam)
    await inbox.seam.pay_in(inbox.address, "3", "USDC")
    await inbox.seam.pass_once()
    deposit = await aside(inbox.seam)
    await bifold("chain", "resume-token", "local", "USDC", "--by", "bea")
    await propose(bifold, deposit)
    return deposit


async def test_two_people_credit_it_once_its_token_goes_on(
    inbox: Inbox, bifold: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    seam = inbox.seam
    deposit = await halted_arrival(inbox)
    capsys.readouterr()
    assert await bifold("deposits", "quarantined", "--json") == 1
    [told] = json.loads(capsys.readouterr().out)
    assert (told["id"], told["principal_id"], told["reason"], told["proposed_by"]) == (
        deposit, inbox.ada, "token_halted", None
    )  # fmt: skip
    assert told["money"] == {"amount": "3.000000", "asset": "USDC"}
    await propose(bifold, deposit)
    with pytest.raises(InvalidState, match="resume-token"):
        await approve(bifold, deposit)
    await bifold("chain", "resume-token", "local", "USDC", "--by", "bea")
    with pytest.raises(FourEyesRequired):
        await approve(bifold, deposit, "ada")
    assert await inbox.total("USDC") == 0
    capsys.readouterr()
    assert await approve(bifold, deposit) == 0
    said = f"{deposit}: 3.000000 USDC credited to {inbox.ada}."
    assert said in capsys.readouterr().out.splitlines()
    assert await inbox.total("USDC") == 3 * USDC
    assert await inbox.rows() == [("USDC", "credited", 3 * USDC, None)]
    case = (await all_cases(seam.db))[-1]
    assert (case.kind, case.status, case.closed_by) == ("deposit_quarantined", "closed", "ben")
    events = await seam.rows("SELECT type FROM outbox WHERE ref = :id", id=deposit)
    assert [row.type for row in events].count("deposit.credited") == 1
    for again in (propose(bifold, deposit), approve(bifold, deposit)):
        with pytest.raises((InvalidState, NotFound)):
            await again
    await seam.finish()
    assert await inbox.total("USDC") == 3 * USDC and await seam.differences() == []
    assert await bifold("deposits", "quarantined") == 0
    assert capsys.readouterr().out.endswith("Nothing is set aside.\n")


async def test_a_proposal_is_taken_back(
    inbox: Inbox, bifold: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was the wrong one: nobody approves it later by mistake."""
    deposit = await halted_arrival(inbox)
    await bifold("chain", "resume-token", "local", "USDC", "--by", "bea")
    await propose(bifold, deposit)
    assert await bifold("deposits", "dismiss-release", deposit, "--by", "ben") == 0
    assert f"{deposit}: stays set aside." in capsys.readouterr().out
    for again in (
        approve(bifold, deposit),
        bifold("deposits", "dismiss-release", deposit, "--by", "ben"),
    ):
        with pytest.raises(InvalidState, match="Nobody has proposed"):
            await again
    assert await inbox.total("USDC") == 0
    await propose(bifold, deposit)
    assert await approve(bifold, deposit) == 0
    assert await inbox.total("USDC") == 3 * USDC


async def test_a_new_proposal_takes_the_place_of_the_old_one(inbox: Inbox, bifold: Command) -> None:
    deposit = await halted_arrival(inbox)
    await bifold("chain", "resume-token", "local", "USDC", "--by", "bea")
    with pytest.raises(InvalidState, match="Nobody has proposed"):
        await approve(bifold, deposit)
    with pytest.raises(InvalidField):
        await bifold("deposits", "release", deposit, "--reason", " ", "--by", "ada")
    await propose(bifold, deposit)
    await propose(bifold, deposit, "ben")
    with pytest.raises(FourEyesRequired):
        await approve(bifold, deposit, "ben")
    await approve(bifold, deposit, "ada")
    rows = await inbox.seam.rows("SELECT state, proposed_by, ended_by FROM deposit_releases"
                                 " ORDER BY proposed_at")  # fmt: skip
    assert [tuple(row) for row in rows] == [
        ("dismissed", "ada", "ben"), ("released", "ben", "ada")
    ]  # fmt: skip


async def test_not_before_its_block_is_final(inbox: Inbox, bifold: Command) -> None:
    seam = inbox.seam
    deposit = await proposed_early(inbox, bifold)
    with pytest.raises(InvalidState, match="not final"):
        await approve(bifold, deposit)
    await seam.finish()
    await approve(bifold, deposit)
    assert await inbox.total("USDC") == 3 * USDC


async def test_what_a_reorganisation_took_away_is_not_released(
    inbox: Inbox, bifold: Command
) -> None:
    seam = inbox.seam
    deposit = await proposed_early(inbox, bifold)
    await seam.dev.reorg(1)
    await seam.dev.mine(1)
    await seam.finish()
    with pytest.raises(NotFound):
        await approve(bifold, deposit)
    assert await inbox.total("USDC") == 0


async def test_the_house_own_waits_until_nothing_is_missing(inbox: Inbox, bifold: Command) -> None:
    seam = inbox.seam
    await halted(seam)
    hot = await seam.booked("USDC", "hot")
    [hot_address] = await seam.signer.hot_addresses()
    await seam.pay_in(hot_address, "7", "USDC")
    await seam.arrive()
    deposit = await aside(seam)
    await bifold("chain", "resume-token", "local", "USDC", "--by", "bea")
    await propose(bifold, deposit)
    crediter = Crediter(seam.db, seam.assets)
    for missing, why in (({}, "could not be read"), ({"chain:local:USDC:hot": 1}, "not there")):
        with pytest.raises(InvalidState, match=why):
            async with as_operator(seam.db) as session:
                await release.approve(
                    session, crediter, seam.assets, deposit, by="ben", sight=None, missing=missing
                )
    assert await seam.booked("USDC", "hot") == hot
    await approve(bifold, deposit)
    assert await seam.booked("USDC", "hot") == hot + 7 * USDC
    assert await seam.differences() == []


async def test_a_closed_account_keeps_its_case(inbox: Inbox, bifold: Command) -> None:
    """The books have the coins then, under nobody's name."""
    seam = inbox.seam
    await seam.pay_in(inbox.address, "1", "USDC")
    await seam.arrive()
    deposit = await halted_arrival(inbox)
    await bifold("chain", "resume-token", "local", "USDC", "--by", "bea")
    await seam.rows(
        "SELECT ledger_set_status(id, 'closed') FROM accounts WHERE principal_id = :p", p=inbox.ada
    )
    await propose(bifold, deposit)
    await approve(bifold, deposit)
    assert await inbox.rows() == [
        ("USDC", "credited", USDC, None), ("USDC", "quarantined", 3 * USDC, "account_closed")
    ]  # fmt: skip
    case = (await all_cases(seam.db))[-1]
    assert (case.kind, case.status) == ("deposit_quarantined", "open")
    assert await seam.differences() == []


@pytest.fixture
async def seam(
    db: Database, anvil: AnvilProcess, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Seam]:
    """With another token where a test says so."""
    contract = getattr(request, "param", "TestToken")
    seam = await Seam.open(db, anvil.url, tmp_path / "signer", contract_name=contract)
    if contract == "TestToken":
        await seam.fund_house()
    yield seam
    await seam.close()


@pytest.mark.parametrize("seam", ["LyingToken"], indirect=True)
async def test_what_is_not_there_is_not_released(seam: Seam, bifold: Command) -> None:
    """The token logged what it did not move; no two people make coins of that."""
    ada = await seam.person()
    box = Inbox(seam, None, ada, await seam.address(ada))  # type: ignore[arg-type]
    contract = seam.network.tokens[0].contract
    await box.call(contract, "transfer(address,uint256)", box.address, 5 * USDC)
    await seam.finish()
    deposit = await aside(seam)
    await propose(bifold, deposit)
    with pytest.raises(InvalidState, match=r"5\.000000 USDC less than came to it"):
        await approve(bifold, deposit)
    assert await box.total("USDC") == 0


async def test_two_people_and_once_says_the_database_too(
    inbox: Inbox, bifold: Command, database: ScratchDatabase
) -> None:
    deposit = await halted_arrival(inbox)
    await propose(bifold, deposit)
    with psycopg.connect(database.conninfo("bifold_owner")) as owner:
        entry = "(SELECT id FROM entries LIMIT 1)"
        with pytest.raises(psycopg.errors.CheckViolation):
            owner.execute(
                "UPDATE deposit_releases SET state = 'released', ended_by = 'ada',"
                f" ended_at = now(), entry_id = {entry}"
            )
        owner.rollback()
        owner.execute("UPDATE deposit_releases SET state = 'dismissed', ended_by = 'eve',"
                      " ended_at = now()")  # fmt: skip
        with pytest.raises(psycopg.errors.RaiseException, match="ends once"):
            owner.execute("UPDATE deposit_releases SET state = 'proposed', ended_by = NULL,"
                          " ended_at = NULL")  # fmt: skip

"""Each minute the books are read against chain and bank: kept, and a case where a unit is off."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from chain.errors import NodeRejected, NodeUnavailable
from wallet import cases, cli_cases, ledger
from wallet.cases import Case
from wallet.errors import InvalidState
from wallet.ledger import accounts
from wallet.money import Money
from wallet.monitor import vitals
from wallet.reconcile import Reading, ReconcileWatch
from wallet.reconcile.reading import NOBODY
from wallet.testing.databases import ScratchDatabase
from wallet.testing.seam import Seam

HOT = "chain:local:ETH:hot"
OUTSIDE = "0x00000000000000000000000000000000000A11CE"


def watch(seam: Seam) -> ReconcileWatch:
    """As a worker has it."""
    return ReconcileWatch(seam.db, {"local": seam.chain}, seam.assets)


async def found(seam: Seam) -> list[Case]:
    async with seam.db.transaction() as session:
        return await cases.listed(session, open_only=False)


async def hot(seam: Seam) -> str:
    return (await seam.signer.hot_addresses())[0]


async def shift(seam: Seam, wei: int) -> None:
    """The hot address holds so much more, by no transaction, in a block that is final."""
    address = await hot(seam)
    now = await seam.on_chain(address, "ETH")
    await seam.node("anvil_setBalance", address, hex(now + wei))
    await seam.finish()


def line_of(reading: Reading, account: str) -> Any:
    [line] = [one for read in reading.reads for one in read.lines if one.account == account]
    return line


async def test_what_agrees_is_kept_with_the_final_block_it_was_read_at(seam: Seam) -> None:
    reading = await watch(seam).tick()
    assert reading.outcome == "agrees"
    [chain] = [read for read in reading.reads if read.source == "chain:local"]
    [place] = await seam.rows("SELECT final_number, tip_number FROM scan_state")
    assert chain.block is not None and chain.final
    assert chain.block.number == place.final_number < place.tip_number
    [run] = await seam.rows("SELECT * FROM reconcile_runs")
    assert run.outcome == "agrees" and run.ended_at >= run.started_at
    reads = {row.source: row for row in await seam.rows("SELECT * FROM reconcile_reads")}
    assert set(reads) == {"chain:local", "books"}
    assert (reads["chain:local"].block_number, reads["chain:local"].block_hash) == (
        chain.block.number, chain.block.hash
    )  # fmt: skip
    lines = {row.account: row for row in await seam.rows("SELECT * FROM reconcile_lines")}
    assert set(lines) == {
        f"chain:local:{asset}:{place}" for asset in ("ETH", "USDC") for place in ("deposit", "hot")
    }
    assert all(row.balanced and row.difference_minor == 0 for row in lines.values())
    assert lines[HOT].ledger_minor == lines[HOT].outside_minor == 100 * 10**18
    assert await found(seam) == []


@pytest.mark.parametrize("wei", [1, -1])
async def test_one_wei_is_found_in_two_readings_and_named(seam: Seam, wei: int) -> None:
    watching = watch(seam)
    await watching.tick()
    await shift(seam, wei)
    reading = await watching.tick()
    assert (reading.outcome, line_of(reading, HOT).difference) == ("differs", wei)
    assert await found(seam) == []  # one reading is not yet a case
    await watching.tick()
    [one] = await found(seam)
    assert (one.kind, one.subject, one.severity, one.status) == (
        "books_differ", HOT, "critical", "open"
    )  # fmt: skip
    assert (one.network, one.asset) == ("local", "ETH")
    more = "more" if wei > 0 else "less"
    assert f"0.000000000000000001 ETH (1 of the smallest unit) {more} is there" in one.what
    assert "at final block" in one.what
    assert one.evidence["difference_minor"] == str(wei)
    stored = await seam.rows("SELECT id, outcome FROM reconcile_runs ORDER BY id")
    assert [row.outcome for row in stored] == ["agrees", "differs", "differs"]
    assert one.evidence["readings"] == [row.id for row in stored[1:]]
    await watching.tick()
    assert len(await found(seam)) == 1
    await shift(seam, -wei)
    await watching.tick()
    [one] = await found(seam)
    assert (one.status, one.closed_by) == ("closed", "bifold")
    assert str(one.closing_note).startswith("it agreed in reading rec_")


async def test_a_difference_between_two_that_agree_is_no_case(seam: Seam) -> None:
    watching = watch(seam)
    for wei in (5, -5, 7, -7):
        await shift(seam, wei)
        await watching.tick()
    assert await found(seam) == []
    outcomes = await seam.rows("SELECT outcome FROM reconcile_runs ORDER BY id")
    assert [row.outcome for row in outcomes] == ["differs", "agrees", "differs", "agrees"]


async def test_a_node_that_is_away_is_not_known_and_opens_and_closes_nothing(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    watching = watch(seam)
    await shift(seam, 1)
    await watching.tick()

    async def away(*_: object) -> list[int]:
        raise NodeUnavailable("connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(seam.chain, "balances", away)
        for _ in range(2):
            reading = await watching.tick()
            assert reading.outcome == "unknown"
        [read] = [one for one in reading.reads if one.source == "chain:local"]
        assert "connection refused" in str(read.unknown_reason) and read.lines == []
        assert await found(seam) == []
    await watching.tick()  # the second reading of that source that is known
    [one] = await found(seam)
    assert one.status == "open"
    with monkeypatch.context() as patch:
        patch.setattr(seam.chain, "balances", away)
        await watching.tick()
    assert [case.status for case in await found(seam)] == ["open"]
    async with seam.db.transaction() as session:
        ages = (await vitals(session)).reconciled
    assert set(ages) == {"chain:local", "books"}
    assert ages["chain:local"] is not None and ages["books"] is not None
    assert ages["chain:local"] > ages["books"] >= 0


async def test_what_nothing_reads_is_not_known_and_hides_no_difference(seam: Seam) -> None:
    watching = watch(seam)
    await shift(seam, 3)
    async with seam.db.transaction() as session:
        await ledger.post(
            session,
            ledger.Command(
                kind="test",
                ref="an old network",
                lines=[
                    ledger.Line(accounts.on_chain("gone", "ETH", "hot"), seam.money("1", "ETH")),
                    ledger.Line(accounts.capital("ETH"), Money(-(10**18), seam.assets.get("ETH"))),
                ],
            ),
        )
    reading = await watching.tick()
    assert reading.outcome == "differs"  # a difference outweighs what is not known
    unknown = {one.source: one.unknown_reason for one in reading.reads if one.unknown_reason}
    assert unknown == {"chain:gone:ETH:hot": NOBODY}
    await shift(seam, -3)
    assert (await watching.tick()).outcome == "unknown"  # silence is not agreement


async def test_a_node_without_the_final_state_is_read_at_its_newest_block(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = seam.chain.balances
    [place] = await seam.rows("SELECT final_number, tip_number FROM scan_state")

    async def pruned(addresses: Sequence[str], asset: str, number: int) -> list[int]:
        if number <= place.final_number:
            raise NodeRejected(-32000, "missing trie node")
        return await inner(addresses, asset, number)

    monkeypatch.setattr(seam.chain, "balances", pruned)
    reading = await watch(seam).tick()
    assert reading.outcome == "agrees"
    [read] = [one for one in reading.reads if one.source == "chain:local"]
    assert read.block is not None and (read.block.number, read.final) == (place.tip_number, False)
    assert "at block" in line_of(reading, HOT).note


async def test_every_block_of_deposits_and_payments_agrees(seam: Seam) -> None:
    """What is under way is explained at each block: seen, credited, sent, mined, final."""
    watching = watch(seam)
    ada = await seam.person()
    address = await seam.address(ada)
    await seam.pay_in(address, "2", "ETH")
    await seam.pay_in(address, "50", "USDC")
    for _ in range(seam.network.confirmations + 2):
        await seam.mine()
        assert (await watching.tick()).outcome == "agrees"
    await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    await seam.withdraw(ada, "20", "USDC", OUTSIDE)
    for _ in range(2 * seam.network.confirmations + 2):
        await seam.mine()
        assert (await watching.tick()).outcome == "agrees"
    assert (await seam.rows("SELECT count(*) AS n FROM reconcile_runs WHERE outcome <> 'agrees'"))[
        0
    ].n == 0
    assert await found(seam) == []


async def test_books_that_do_not_sum_to_zero_are_a_case(
    seam: Seam, database: ScratchDatabase
) -> None:
    watching = watch(seam)

    def tamper(minor: int) -> None:
        with psycopg.connect(database.conninfo("bifold_owner")) as owner:
            owner.execute(
                "UPDATE accounts SET balance_minor = balance_minor + %s"
                " WHERE path = 'house:capital:USDC'",
                (minor,),
            )

    tamper(1)
    await watching.tick()
    reading = await watching.tick()
    assert reading.outcome == "differs"
    [one] = await found(seam)
    assert (one.kind, one.subject, one.evidence["difference_minor"]) == (
        "books_differ", "trial_balance:USDC", "-1"
    )  # fmt: skip
    tamper(-1)
    await watching.tick()
    assert [case.status for case in await found(seam)] == ["closed"]


async def test_two_workers_open_one_case(seam: Seam) -> None:
    await shift(seam, 1)
    await asyncio.gather(*(watch(seam).tick() for _ in range(2)))
    await asyncio.gather(*(watch(seam).tick() for _ in range(3)))
    assert [case.subject for case in await found(seam)] == [HOT]


async def test_old_readings_go_and_the_first_of_a_day_stays(
    seam: Seam, database: ScratchDatabase
) -> None:
    """Agreeing ones after 7 days, others after 90; the first of each kind of a day for good."""
    days = {"agrees": (6, 8, 400), "differs": (89, 91, 400), "unknown": (8, 91)}
    with psycopg.connect(database.conninfo("bifold_owner")) as owner:
        for outcome, ages in days.items():
            for age in ages:
                for minute in (0, 1, 2):
                    owner.execute(
                        "WITH at AS (SELECT date_trunc('day', now() - make_interval(days => %(d)s),"
                        " 'UTC') + make_interval(mins => %(m)s) AS t), run AS (INSERT INTO"
                        " reconcile_runs SELECT %(id)s, %(o)s, t, t FROM at RETURNING id)"
                        " INSERT INTO reconcile_reads (run_id, source) SELECT id, 'books' FROM run",
                        {"d": age, "m": minute, "o": outcome, "id": f"{outcome}{age}.{minute}"},
                    )
    await watch(seam).tick()
    left = {row.id for row in await seam.rows("SELECT id FROM reconcile_runs")}
    left = {one for one in left if not one.startswith("rec_")}
    whole = {"agrees6", "differs89", "unknown8"}
    assert left == {
        f"{outcome}{age}.{minute}"
        for outcome, ages in days.items()
        for age in ages
        for minute in (0, 1, 2)
        if minute == 0 or f"{outcome}{age}" in whole
    }
    [reads] = await seam.rows("SELECT count(*) AS n FROM reconcile_reads WHERE source = 'books'")
    assert reads.n == len(left) + 1  # what belongs to a reading goes with it


@pytest.mark.parametrize("table", ["reconcile_runs", "reconcile_reads", "reconcile_lines"])
@pytest.mark.parametrize("deed", ["DELETE FROM {}", "TRUNCATE {}", "UPDATE {} SET {}"])
async def test_the_application_rewrites_no_reading(
    seam: Seam, database: ScratchDatabase, table: str, deed: str
) -> None:
    await watch(seam).tick()
    column = {"reconcile_runs": "outcome = 'agrees'", "reconcile_reads": "source = 'x'",
              "reconcile_lines": "balanced = true"}[table]  # fmt: skip
    with (
        psycopg.connect(database.conninfo("bifold_app")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(deed.format(table, column).encode())


async def test_a_case_is_not_closed_by_hand_while_it_stands(seam: Seam) -> None:
    watching = watch(seam)
    await shift(seam, 1)
    await watching.tick()
    await watching.tick()
    [one] = await found(seam)
    with pytest.raises(InvalidState, match="still stands"):
        async with seam.db.transaction() as session:
            await cli_cases.close(session, one.id, by="ada", note="no wish to see it", networks=())
    async with seam.db.transaction() as session:
        known = await session.scalar(text("SELECT count(*) FROM cases WHERE status = 'open'"))
    assert known == 1

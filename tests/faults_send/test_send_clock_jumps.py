"""S26 of the fault matrix: every clock of the machine jumps by two hours or a day, on or back.

For the database, whose own clock cannot be moved, all that it has stamped is moved the other way,
which is the same to it; the process and the signer are told another time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.faults_send.conftest import Case
from wallet import clock
from wallet import networks as shown
from wallet.monitor import vitals
from wallet.onchain import ChainUnavailable
from wallet.onchain import network as networks
from wallet.testing.databases import ScratchDatabase
from wallet.testing.seam import GWEI

ETH = 10**18
ROOT = Path(__file__).resolve().parents[2]
JUMPS = [7_200, -7_200, 86_400, -86_400]
OF_THE_CHAIN = ["block_time", "head_time", "event_at"]  # no clock of ours stamps these


@pytest.fixture
def jump(
    database: ScratchDatabase, case: Case, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], None]:
    """Moves all clocks by so many seconds; monotonic ones go on as they are."""

    def jump(seconds: int) -> None:
        _shift(database, -seconds)
        true_time = time.time
        monkeypatch.setattr(time, "time", lambda: true_time() + seconds)
        by = timedelta(seconds=seconds)
        case.seam.desk._clock = lambda: datetime.now(UTC) + by

    return jump


def _shift(database: ScratchDatabase, seconds: int) -> None:
    with psycopg.connect(database.conninfo("postgres")) as connection:
        connection.execute("SET session_replication_role = replica")  # what is append-only, too
        stamped = connection.execute(
            "SELECT table_schema, table_name, array_agg(column_name::text)"
            " FROM information_schema.columns JOIN information_schema.tables"
            "  USING (table_schema, table_name)"
            " WHERE table_schema IN ('public', 'jobs') AND table_type = 'BASE TABLE'"
            " AND data_type = 'timestamp with time zone' AND is_generated = 'NEVER'"
            " AND column_name <> ALL (%s) GROUP BY 1, 2",
            (OF_THE_CHAIN,),
        ).fetchall()
        for schema, table, columns in stamped:
            moved = [
                sql.SQL("{0} = {0} + make_interval(secs => {1})").format(
                    sql.Identifier(column), sql.Literal(seconds)
                )
                for column in columns
            ]
            connection.execute(
                sql.SQL("UPDATE {} SET {}").format(
                    sql.Identifier(schema, table), sql.SQL(", ").join(moved)
                )
            )
    assert len(stamped) > 20


@pytest.mark.parametrize("seconds", JUMPS)
async def test_s26_a_jump_ends_nothing_early_and_stops_nothing(
    case: Case, jump: Callable[[int], None], seconds: int
) -> None:
    """A payment on its way and one that waits: the bytes go on being sent again, fees go on
    following the network, both are paid once."""
    made = [await case.broadcast("0.25"), await case.withdraw("0.25")]
    jump(seconds)
    await case.seam.observer.tick()
    for _ in range(3):
        await case.seam.pass_once()
    assert {(await case.now(one)).status for one in made} == {"broadcast"}
    assert [(kind, tx.nonce) for kind, tx, _ in await case.fields()] == [("pay", 0), ("pay", 1)]
    first = set(case.meddler.sent)
    await case.seam.node("anvil_dropAllTransactions")
    before = len(case.meddler.sent)
    await case.seam.pass_once()
    assert set(case.meddler.sent[before:]) == first  # the same bytes, both of them
    await case.settled_once(made[0], ETH // 2)
    assert (await case.now(made[1])).status == "settled"
    assert len(await case.fields()) == 2


@pytest.mark.parametrize("seconds", [7_200, -86_400])
async def test_s26_fees_follow_the_network_after_a_jump(
    case: Case, jump: Callable[[int], None], seconds: int
) -> None:
    case.seam.bump_seconds = 0.5
    case.stand()
    made = await case.broadcast()
    jump(seconds)
    await case.seam.observer.tick()
    await case.seam.runner.tick()
    assert [kind for kind, _, _ in await case.fields()] == ["pay"]  # its fee is enough
    await case.seam.node("anvil_dropAllTransactions")
    await case.seam.node("anvil_setNextBlockBaseFeePerGas", hex(40 * GWEI))
    await case.seam.dev.mine(1)
    for _ in range(3):
        await case.seam.pass_once()
    attempts = await case.fields()
    assert [kind for kind, _, _ in attempts][:2] == ["pay", "bump"]
    assert {tx.nonce for _, tx, _ in attempts} == {0}
    await case.seam.node("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    await case.settled_once(made)


@pytest.mark.parametrize("seconds", [86_400, -7_200])
async def test_s26_what_a_node_said_before_a_jump_is_old(
    case: Case, jump: Callable[[int], None], seconds: int
) -> None:
    """A node that is away since then must not count as there until the clock has caught up."""
    await case.seam.observer.tick()
    jump(seconds)
    async with case.seam.db.transaction() as session:
        with pytest.raises(ChainUnavailable):
            await networks.require_usable(session, "local")
        assert not (await shown.states(session))["local"].healthy
        assert not (await vitals(session)).networks[0].well
    await case.seam.observer.tick()
    async with case.seam.db.transaction() as session:
        await networks.require_usable(session, "local")
        assert (await shown.states(session))["local"].healthy


@pytest.mark.parametrize("seconds", [7_200, 86_400])
async def test_s26_business_time_that_moves_ends_nothing_early(case: Case, seconds: int) -> None:
    """The sandbox's clock, which goes forward only; nothing of a payment goes by it."""
    made = await case.broadcast()
    async with case.seam.db.transaction() as session:
        await clock.advance(session, seconds=seconds)
    for _ in range(3):
        await case.seam.pass_once()
    assert (await case.now(made)).status == "broadcast"
    assert [kind for kind, _, _ in await case.fields()] == ["pay"]
    await case.settled_once(made)


ROOMS = (
    "chain", "keys", "wallet/onchain", "wallet/deposits", "wallet/jobs", "wallet/sweeps",
    "wallet/treasury", "wallet/selfcustody", "wallet/withdrawals",
)  # fmt: skip


def test_s26_nothing_that_waits_goes_by_the_wall_clock() -> None:
    """Time-outs and pauses are counted by the monotonic clock, what is stored by the database's."""
    asking = {
        str(path.relative_to(ROOT)): found
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        if (found := re.findall(r"\btime\.time\(|\bdatetime\.now\(", path.read_text("utf-8")))
    }
    assert asking == {
        "chain/votes.py": ["time.time("],  # how old a block is: those have the wall clock's
        "keys/desk.py": ["datetime.now("],  # the day of a limit, which never goes back
        "keys/selfcustody.py": ["datetime.now("],  # stamps what it writes down
        "wallet/onchain/burn.py": ["datetime.now("],  # when something was booked
        "wallet/onchain/review.py": ["datetime.now("],
    }

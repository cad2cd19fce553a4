"""Treasury moves are approved, evacuations ordered and halts ended by operators: the database
itself refuses the application, and leaves it what the worker has to do."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege, RaiseException

from wallet import migrate
from wallet.testing.databases import ScratchCluster, ScratchDatabase
from wallet.testing.revisions import take_back

COLD, THIEF = "0x" + "c0" * 20, "0x" + "66" * 20
INTENTS = (
    "INSERT INTO chain_intents (id, purpose, ref, network, asset, to_address, amount_minor,"
    " gas_limit, fee_ceiling_wei, state) SELECT 'int_' || n, 'treasury', 'tre_' || n, 'local',"
    f" 'ETH', '{COLD}', 7, 21000, 1, 'queued' FROM generate_series(1, 3) n"
)
PLANTED = (
    INTENTS,
    "INSERT INTO treasury_moves (id, network, asset, kind, to_address, amount_minor, state,"
    f" proposed_by) VALUES ('tre_1', 'local', 'ETH', 'to_cold', '{COLD}', 7, 'proposed', 'bifold')",
    "INSERT INTO treasury_moves (id, network, asset, kind, to_address, amount_minor, state,"
    " proposed_by, approved_by, intent_id)"
    f" VALUES ('tre_2', 'local', 'ETH', 'to_cold', '{COLD}', 7, 'approved', 'ada', 'bea', 'int_2')",
    "INSERT INTO treasury_moves (id, network, asset, kind, to_address, amount_minor, state,"
    " proposed_by) VALUES ('tre_3', 'local', 'USDC', 'to_cold', NULL, 7, 'dismissed', 'ada')",
    "INSERT INTO network_state (network, halted_reason, halted_at) VALUES ('local', 'deep', now()),"
    " ('well', NULL, NULL)",
    "INSERT INTO chain_signers (network, address, next_nonce, role, halted_reason)"
    " VALUES ('local', '0x1', 0, 'hot', 'foreign_transaction'), ('local', '0x2', 0, 'hot', NULL),"
    " ('local', '0x3', 0, 'hot', 'standby')",
    "INSERT INTO halted_tokens (network, asset, reason) VALUES ('local', 'USDC', 'decimals')",
    "INSERT INTO network_freezes (network, reason, by_whom) VALUES ('local', 'a look', 'ada')",
)
ORDER = f"UPDATE network_freezes SET evacuate_to = '{COLD}'"


def evacuating(
    to: str = COLD, by: str = "'ada'", house: str = "bifold", kind: str = "evacuate"
) -> str:
    """A move as the worker writes it in an evacuation."""
    return (
        "INSERT INTO treasury_moves (id, network, asset, kind, to_address, amount_minor, state,"
        f" proposed_by, approved_by, intent_id) VALUES ('tre_4', 'local', 'ETH', '{kind}', '{to}',"
        f" 7, 'approved', '{house}', {by}, 'int_3')"
    )


@pytest.fixture
def house(database: ScratchDatabase) -> ScratchDatabase:
    """A proposal, an approved move, one that ended; everything halted; a frozen network."""
    with psycopg.connect(database.server.conninfo(database=database.name)) as root:
        root.execute("SET session_replication_role = replica")
        for row in PLANTED:
            root.execute(row.encode())
    return database


@pytest.fixture
def app(house: ScratchDatabase) -> Iterator[psycopg.Connection]:
    with psycopg.connect(house.conninfo("bifold_app"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def operator(house: ScratchDatabase) -> Iterator[psycopg.Connection]:
    with psycopg.connect(house.conninfo("bifold_operator"), autocommit=True) as connection:
        yield connection


def proposal(by: str, kind: str = "to_cold") -> str:
    return (
        "INSERT INTO treasury_moves (id, network, asset, kind, to_address, amount_minor, state,"
        f" proposed_by) VALUES ('tre_5', 'local', 'USDC', '{kind}', '{COLD}', 7,"
        f" 'proposed', '{by}')"
    )


class TestMoves:
    @pytest.mark.parametrize(
        "deed",
        [
            "UPDATE treasury_moves SET state = 'approved' WHERE id = 'tre_1'",
            "UPDATE treasury_moves SET state = 'approved', approved_by = 'bea', intent_id = 'int_1'"
            " WHERE id = 'tre_1'",
            "UPDATE treasury_moves SET approved_by = 'bea' WHERE id = 'tre_1'",
            "UPDATE treasury_moves SET intent_id = 'int_1' WHERE id = 'tre_1'",
            "UPDATE treasury_moves SET state = 'done' WHERE id = 'tre_1'",
            "UPDATE treasury_moves SET state = 'dismissed' WHERE id = 'tre_1'",
            "UPDATE treasury_moves SET state = 'dismissed' WHERE id = 'tre_2'",
            "UPDATE treasury_moves SET intent_id = 'int_3' WHERE id = 'tre_2'",
            "UPDATE treasury_moves SET intent_id = NULL WHERE id = 'tre_2'",
            "UPDATE treasury_moves SET state = 'proposed' WHERE id = 'tre_3'",
            f"UPDATE treasury_moves SET to_address = '{THIEF}'",
            "DELETE FROM treasury_moves",
            proposal("ada"),
            proposal("bifold", "profit"),
            evacuating(),
            evacuating(kind="to_cold"),
        ],
    )
    def test_no_process_agrees_with_one(self, app: psycopg.Connection, deed: str) -> None:
        with pytest.raises((InsufficientPrivilege, RaiseException)):
            app.execute(deed.encode())

    def test_the_worker_proposes_in_the_houses_name_and_says_how_it_ended(
        self, app: psycopg.Connection
    ) -> None:
        app.execute(proposal("bifold").encode())
        app.execute("UPDATE treasury_moves SET state = 'done', tx_hash = '0x', ended_at = now(),"
                    " reason = NULL WHERE id = 'tre_2'")  # fmt: skip
        with pytest.raises(RaiseException, match="stays"):
            app.execute("UPDATE treasury_moves SET state = 'approved' WHERE id = 'tre_2'")

    def test_operators_do_all_of_it(self, operator: psycopg.Connection) -> None:
        operator.execute("UPDATE treasury_moves SET state = 'approved', approved_by = 'bea',"
                         " intent_id = 'int_1' WHERE id = 'tre_1'")  # fmt: skip
        operator.execute("UPDATE treasury_moves SET state = 'dismissed' WHERE id = 'tre_2'")
        operator.execute(proposal("ada").encode())
        with pytest.raises(psycopg.errors.CheckViolation):  # four eyes
            operator.execute("UPDATE treasury_moves SET state = 'approved', approved_by = 'ada',"
                             " intent_id = 'int_3' WHERE id = 'tre_5'")  # fmt: skip
        with pytest.raises(RaiseException, match="by somebody"):
            operator.execute("UPDATE treasury_moves SET state = 'approved' WHERE id = 'tre_5'")

    def test_nobody_changes_what_was_agreed(self, house: ScratchDatabase) -> None:
        for change in (f"to_address = '{THIEF}'", "amount_minor = 8", "approved_by = 'cid'",
                       "intent_id = 'int_3'", "kind = 'profit'"):  # fmt: skip
            with (
                psycopg.connect(house.conninfo("bifold_owner")) as owner,
                pytest.raises(RaiseException, match="stays"),
            ):
                owner.execute(f"UPDATE treasury_moves SET {change} WHERE id = 'tre_2'".encode())


class TestEvacuation:
    def test_the_worker_moves_what_an_operator_has_ordered_and_nowhere_else(
        self, app: psycopg.Connection, operator: psycopg.Connection
    ) -> None:
        with pytest.raises(InsufficientPrivilege):
            app.execute(ORDER.encode())
        operator.execute(ORDER.encode())
        for other in (
            evacuating(to=THIEF), evacuating(by="'bea'"), evacuating(by="NULL"),
            evacuating(house="ada"), evacuating(kind="to_cold"), evacuating(kind="evacuate_warm"),
        ):  # fmt: skip
            with pytest.raises((InsufficientPrivilege, RaiseException)):
                app.execute(other.encode())
        app.execute(evacuating().encode())

    def test_the_worker_ends_it_and_the_freeze_stays(
        self, app: psycopg.Connection, operator: psycopg.Connection
    ) -> None:
        operator.execute(ORDER.encode())
        with pytest.raises(InsufficientPrivilege):
            app.execute(f"UPDATE network_freezes SET evacuate_to = '{THIEF}'".encode())
        app.execute("UPDATE network_freezes SET evacuate_to = NULL")
        with pytest.raises(InsufficientPrivilege):
            app.execute("DELETE FROM network_freezes")
        operator.execute("DELETE FROM network_freezes")


class TestPlaces:
    def test_only_operators_say_what_is_cold(
        self, app: psycopg.Connection, operator: psycopg.Connection
    ) -> None:
        known = "INSERT INTO house_addresses (network, address, place) VALUES ('local', '{}', '{}')"
        with pytest.raises(InsufficientPrivilege, match="cold address"):
            app.execute(known.format(THIEF, "cold").encode())
        app.execute(known.format("0x" + "1" * 40, "hot").encode())
        operator.execute(known.format(COLD, "cold").encode())


class TestHalts:
    @pytest.mark.parametrize(
        "deed",
        [
            "UPDATE network_state SET halted_reason = NULL, halted_at = NULL",
            "UPDATE network_state SET halted_reason = 'another' WHERE network = 'local'",
            "INSERT INTO network_state (network) VALUES ('local')"
            " ON CONFLICT (network) DO UPDATE SET halted_reason = NULL",
            "UPDATE chain_signers SET halted_reason = NULL WHERE address = '0x1'",
            "UPDATE chain_signers SET halted_reason = 'standby' WHERE address = '0x1'",
            "UPDATE chain_signers SET halted_reason = NULL WHERE address = '0x3'",
            "DELETE FROM halted_tokens",
        ],
    )
    def test_no_process_ends_one(
        self, app: psycopg.Connection, operator: psycopg.Connection, deed: str
    ) -> None:
        with pytest.raises(InsufficientPrivilege):
            app.execute(deed.encode())
        if not deed.startswith("INSERT"):
            assert operator.execute(deed.encode()).rowcount > 0

    def test_the_worker_halts_and_writes_beside_a_halt(self, app: psycopg.Connection) -> None:
        app.execute("UPDATE network_state SET head_number = 5, healthy = false")
        app.execute("UPDATE network_state SET halted_reason = 'deep' WHERE network = 'well'")
        app.execute("UPDATE chain_signers SET next_nonce = 1")
        app.execute("UPDATE chain_signers SET halted_reason = 'x' WHERE address = '0x2'")
        app.execute("INSERT INTO halted_tokens (network, asset, reason)"
                    " VALUES ('local', 'USDC', 'x') ON CONFLICT DO NOTHING")  # fmt: skip
        app.execute("SELECT 1 FROM chain_signers, network_state FOR UPDATE")

    def test_an_address_in_reserve_takes_over_while_an_evacuation_runs(
        self, app: psycopg.Connection, operator: psycopg.Connection
    ) -> None:
        operator.execute(ORDER.encode())
        app.execute("UPDATE chain_signers SET halted_reason = NULL WHERE address = '0x3'")
        with pytest.raises(InsufficientPrivilege):
            app.execute("UPDATE chain_signers SET halted_reason = NULL WHERE address = '0x1'")


def test_the_revision_can_be_taken_back(cluster: ScratchCluster) -> None:
    """Down and up again, over rows of a living house."""
    database = cluster.create()
    with psycopg.connect(database.server.conninfo(database=database.name)) as root:
        root.execute("SET session_replication_role = replica")
        for row in PLANTED:
            root.execute(row.encode())
    take_back(database, "r0034")
    with psycopg.connect(database.conninfo("bifold_app")) as app:
        for deed in ("UPDATE network_state SET halted_reason = NULL", "DELETE FROM halted_tokens",
                     "INSERT INTO house_addresses (network, address, place) VALUES ('local',"
                     f" '{THIEF}', 'cold')",
                     "UPDATE chain_signers SET halted_reason = NULL", "DELETE FROM network_freezes",
                     "UPDATE treasury_moves SET state = 'approved', approved_by = 'eve'"
                     " WHERE id = 'tre_1'"):  # fmt: skip
            assert app.execute(deed.encode()).rowcount > 0
        app.rollback()
    migrate.upgrade(database.owner_url)
    with psycopg.connect(database.conninfo("bifold_app")) as app:
        for deed in ("DELETE FROM halted_tokens", "DELETE FROM network_freezes",
                     "UPDATE network_state SET halted_reason = NULL"):  # fmt: skip
            with pytest.raises(InsufficientPrivilege):
                app.execute(deed.encode())
            app.rollback()

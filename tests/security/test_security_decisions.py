"""What two operators decide about arrivals, strays, losses and forks: the database itself refuses
the application, and one operator who would be both."""

from __future__ import annotations

from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg.errors import CheckViolation, InsufficientPrivilege, RaiseException
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from wallet import ledger, migrate
from wallet.db import Database
from wallet.ledger import accounts
from wallet.ledger.accounts import AccountSpec
from wallet.money import Money
from wallet.testing.books import ASSETS, move, new_principal
from wallet.testing.databases import ScratchCluster, ScratchDatabase
from wallet.testing.operators import as_operator
from wallet.testing.revisions import take_back

ENTRY = "INSERT INTO entries (id, kind, ref, event_at) VALUES ('ent_x', 'x', 'x', now())"
ARRIVAL = (
    "INSERT INTO unattributed_arrivals (id, network, address, asset, amount_minor, at_block,"
    " block_hash, block_time, entry_id) VALUES ('una_x', 'local', '0x', 'ETH', 7, 1, '0x', now(),"
    " 'ent_x')"
)
STRAY = (
    "INSERT INTO bank_strays (id, bank, line_id, bank_reference, asset, amount_minor, about,"
    " entry_id) VALUES ('una_x', 'simbank', 1, 'r', 'EUR', 7, '', 'ent_x')"
)
DEPOSIT = (
    "INSERT INTO deposits (id, network, block_hash, block_number, block_time, tx_hash, log_index,"
    " asset, from_address, to_address, amount_minor, status, entry_id)"
    " VALUES ('dep_x', 'local', '0x', 1, now(), '0x', -1, 'ETH', '0x', '0x', 7,"
    " 'credited', 'ent_x')"
)
LOSS = (
    "INSERT INTO deposit_losses (id, deposit_id, network, fork_number, entry_id)"
    " VALUES ('los_x', 'dep_x', 'local', 1, 'ent_x')"
)
FORK = (
    "INSERT INTO fork_proposals (network, fork_number, fork_hash, next_hash, proposed_by)"
    " VALUES ('local', 5, '0x5', '0x6', 'ada')"
)
SCAN = (
    "INSERT INTO scan_state (network, tip_number, tip_hash, started_at_block, final_number,"
    " final_hash) VALUES ('local', 20, '0x20', 0, 9, '0x9')"
)
FOLLOW = (
    "UPDATE scan_state SET tip_number = 5, tip_hash = '0x5'",
    "UPDATE scan_state SET final_number = 5, final_hash = '0x5'",
)
"""As `wallet/deposits/forks.py` leaves what was final."""
HASH = "'0x" + "0" * 64 + "'"


@pytest.fixture
async def db(database: ScratchDatabase) -> AsyncIterator[Database]:
    db = Database(database.app_url)
    yield db
    await db.dispose()


def planted(database: ScratchDatabase, *rows: str) -> None:
    """Rows as they stand before anybody decides, their entry without postings."""
    with psycopg.connect(database.server.conninfo(database=database.name)) as root:
        root.execute("SET session_replication_role = replica")
        root.execute(
            "INSERT INTO principals (id, kind) VALUES ('usr_a', 'user'), ('usr_b', 'user')"
        )
        for row in (ENTRY, *rows):
            root.execute(row.encode())


def refused(
    database: ScratchDatabase,
    error: type[Exception] | tuple[type[Exception], ...],
    *deeds: str,
    role: str = "bifold_operator",
) -> None:
    with psycopg.connect(database.conninfo(role)) as session, pytest.raises(error):
        for deed in deeds:
            session.execute(deed.encode())


PROPOSED = {
    "unattributed_arrivals": (
        (ARRIVAL,),
        f"principal_id = 'usr_a', tx_hash = {HASH}, proposed_by = 'ada'",
        "approved_by = '{}', deposit_id = 'dep_x'",
        "principal_id = 'usr_b', ",
    ),
    "bank_strays": (
        (STRAY,),
        "principal_id = 'usr_a', proposed_by = 'ada'",
        "approved_by = '{}', topup_id = 'top_x'",
        "principal_id = 'usr_b', ",
    ),
    "deposit_losses": (
        (DEPOSIT, LOSS),
        "bearer = 'house', bearer_proposed_by = 'ada'",
        "bearer_approved_by = '{}', settle_entry_id = 'ent_x'",
        "bearer = 'customer', ",
    ),
    "fork_proposals": (
        (),
        "proposed_by = 'ada'",
        "approved_by = '{}'",
        "fork_number = 6, ",
    ),
}


@pytest.mark.parametrize("table", list(PROPOSED))
class TestFourEyes:
    """The database's own, for whoever has the operators' password."""

    def stand(self, database: ScratchDatabase, table: str) -> tuple[str, str, str]:
        rows, proposal, approval, other = PROPOSED[table]
        planted(database, *rows)
        propose = FORK if table == "fork_proposals" else f"UPDATE {table} SET {proposal}"
        approve = f"UPDATE {table} SET {{}}{approval.format('{by}')}"
        return propose, approve, other

    def test_nobody_approves_what_they_proposed(
        self, database: ScratchDatabase, table: str
    ) -> None:
        propose, approve, _ = self.stand(database, table)
        refused(database, CheckViolation, propose, approve.format("", by="ada"))

    def test_nobody_approves_what_was_not_proposed(
        self, database: ScratchDatabase, table: str
    ) -> None:
        _, proposal, approval, _ = PROPOSED[table]
        _, approve, _ = self.stand(database, table)
        if table == "fork_proposals":
            refused(database, InsufficientPrivilege,
                    FORK.replace("proposed_by)", "proposed_by, approved_by)").replace(
                        "'ada')", "'ada', 'bea')"))  # fmt: skip
        else:
            refused(database, (CheckViolation, RaiseException),
                    approve.format("", by="bea"))  # fmt: skip
            refused(database, RaiseException, f"UPDATE {table} SET {proposal}, "
                    + approval.format("bea"))  # fmt: skip

    def test_who_approves_changes_nothing_of_it(
        self, database: ScratchDatabase, table: str
    ) -> None:
        propose, approve, other = self.stand(database, table)
        refused(database, RaiseException, propose, approve.format(other, by="bea"))

    def test_two_may(self, database: ScratchDatabase, table: str) -> None:
        propose, approve, _ = self.stand(database, table)
        with psycopg.connect(database.server.conninfo(database=database.name)) as root:
            root.execute("SET session_replication_role = replica")
            root.execute(DEPOSIT.encode() + b" ON CONFLICT DO NOTHING")
            root.execute(
                "INSERT INTO topups (id, principal_id, method, asset, amount_minor, status)"
                " VALUES ('top_x', 'usr_a', 'bank_transfer', 'EUR', 7, 'pending')"
            )
        with psycopg.connect(database.conninfo("bifold_operator")) as operator:
            operator.execute(propose.encode())
            assert operator.execute(approve.format("", by="bea").encode()).rowcount == 1
        refused(database, RaiseException, f"UPDATE {table} SET "
                + PROPOSED[table][1].replace("'ada'", "'eve'"))  # fmt: skip
        refused(database, RaiseException, f"DELETE FROM {table}", role="bifold_owner")


class TestFinality:
    """What is final is left only by the transaction that holds two people's agreement."""

    @pytest.mark.parametrize("role", ["bifold_app", "bifold_operator", "bifold_owner"])
    @pytest.mark.parametrize(
        "deed",
        [*FOLLOW, "UPDATE scan_state SET final_hash = '0x8'",
         "UPDATE scan_state SET network = 'other'"],
    )  # fmt: skip
    def test_nobody_leaves_it_alone(self, database: ScratchDatabase, role: str, deed: str) -> None:
        planted(database, SCAN)
        refused(database, InsufficientPrivilege, deed, role=role)

    def test_a_proposal_is_not_enough_and_an_agreement_serves_once(
        self, database: ScratchDatabase
    ) -> None:
        planted(database, SCAN)
        refused(database, InsufficientPrivilege, FORK, *FOLLOW)
        with psycopg.connect(database.conninfo("bifold_operator")) as operator:
            for deed in (FORK, "UPDATE fork_proposals SET approved_by = 'bea'", *FOLLOW):
                operator.execute(deed.encode())
        with psycopg.connect(database.conninfo("bifold_app")) as app:
            app.execute("UPDATE scan_state SET final_number = 9, tip_number = 20")
        refused(database, InsufficientPrivilege, *FOLLOW, role="bifold_app")
        refused(database, InsufficientPrivilege, *FOLLOW)

    def test_another_block_than_agreed_is_refused(self, database: ScratchDatabase) -> None:
        planted(database, SCAN)
        refused(
            database, InsufficientPrivilege, FORK,
            "UPDATE fork_proposals SET approved_by = 'bea'", FOLLOW[0],
            "UPDATE scan_state SET final_number = 5, final_hash = '0x7'",
        )  # fmt: skip


class TestBookings:
    """The application posts what it likes of its own; what nobody owns it cannot give away."""

    @pytest.fixture
    async def ada(self, db: Database) -> str:
        async with db.transaction() as session:
            return await new_principal(session)

    def outcomes(self, ada: str) -> list[tuple[AccountSpec, AccountSpec]]:
        """(who gives, who takes)"""
        theirs, lost = accounts.customer(ada, "ETH"), accounts.chain_loss("local", "ETH")
        return [
            (accounts.unattributed("local", "ETH"), theirs),
            (lost, theirs),
            (lost, accounts.chain_loss_expense("local", "ETH")),
            (accounts.chain_loss_expense("local", "ETH"), lost),
            (accounts.receivable(ada, "ETH"), lost),
            (lost, accounts.capital("ETH")),
        ]

    async def test_only_operators_book_them(self, db: Database, ada: str) -> None:
        for giver, taker in self.outcomes(ada):
            with pytest.raises(ProgrammingError, match="only operators give away"):
                async with db.transaction() as session:
                    await move(session, giver, taker, 5)
        async with db.transaction() as session:
            assert await session.scalar(text("SELECT count(*) FROM entries")) == 0
        for giver, taker in self.outcomes(ada):
            async with as_operator(db) as session:
                await move(session, giver, taker, 5)

    async def test_nor_hidden_among_others(self, db: Database, ada: str) -> None:
        """Behind an entry that is in order, and split between a person and the house."""
        nobodys, theirs = accounts.unattributed("local", "ETH"), accounts.customer(ada, "ETH")
        fine = [(accounts.capital("ETH"), -5), (theirs, 5)]
        split = [(nobodys, -5), (accounts.capital("ETH"), 4), (theirs, 1)]
        with pytest.raises(ProgrammingError, match="only operators give away"):
            async with db.transaction() as session:
                await ledger.post_together(
                    session,
                    [
                        ledger.Command(
                            kind="test", ref="test",
                            lines=[ledger.Line(a, Money(n, ASSETS.get("ETH"))) for a, n in lines],
                        )
                        for lines in (fine, split)
                    ],
                )  # fmt: skip

    async def test_finding_them_is_the_applications(self, db: Database) -> None:
        place, lost = (
            accounts.on_chain("local", "ETH", "deposit"), accounts.chain_loss("local", "ETH")
        )  # fmt: skip
        async with db.transaction() as session:
            await move(session, place, accounts.unattributed("local", "ETH"), 5)
            await move(session, place, lost, 5)
            await move(session, lost, place, 5)
            await move(session, accounts.unattributed("house", "ETH"), accounts.capital("ETH"), 5)


class TestReports:
    """Nobody marks a report as acted on without the pauses it asks for."""

    def report(self, database: ScratchDatabase) -> None:
        planted(
            database,
            "INSERT INTO audit_runs (started_at, after_posting, postings, findings, seconds)"
            " VALUES (now(), -1, 1, 3, 1)",
            "INSERT INTO audit_findings (run_id, n, code, means, subject, asset, expected, found,"
            " pauses, fingerprint) SELECT max(id), n, 'some_break', '', 's', asset, '', '',"
            " pauses, 'f' || n FROM audit_runs, (VALUES (1, 'EUR', true), (2, NULL, true),"
            " (3, 'USD', false), (4, 'ETH', true)) AS f(n, asset, pauses)"
            " GROUP BY n, asset, pauses",
            "INSERT INTO audit_accepted (fingerprint, code, subject, accepted_by, note)"
            " VALUES ('f4', 'some_break', 'ETH', 'ada', 'seen')",
        )

    @pytest.mark.parametrize("role", ["bifold_app", "bifold_operator"])
    def test_acting_pauses_whatever_the_words_leave_out(
        self, database: ScratchDatabase, role: str
    ) -> None:
        self.report(database)
        with psycopg.connect(database.conninfo(role)) as session:
            act = 'SELECT audit_act((SELECT max(id) FROM audit_runs), \'{"EUR": "why"}\')'
            assert session.execute(act).fetchone() == (True,)
            assert session.execute(act).fetchone() == (False,)
            assert session.execute(
                "SELECT asset, reason LIKE 'run % names a break' FROM audit_pauses ORDER BY asset"
            ).fetchall() == [("*", True), ("EUR", False)]

    def test_the_auditor_itself_does_not(self, database: ScratchDatabase) -> None:
        refused(database, InsufficientPrivilege, "SELECT audit_act(1, '{}')", role="bifold_audit")


def test_the_revision_can_be_taken_back(cluster: ScratchCluster) -> None:
    """Down and up again, with an agreement that was followed."""
    database = cluster.create()
    planted(database)
    with psycopg.connect(database.conninfo("bifold_operator")) as operator:
        operator.execute(FORK.encode())
        operator.execute("UPDATE fork_proposals SET approved_by = 'bea'")
        operator.execute(FORK.encode())
    take_back(database, "r0033-1")
    with psycopg.connect(database.conninfo("bifold_app")) as app:
        assert app.execute("SELECT count(*) FROM fork_proposals").fetchone() == (1,)
        app.execute("UPDATE fork_proposals SET proposed_by = 'eve'")
        app.execute("UPDATE bank_strays SET approved_by = 'eve'")
    migrate.upgrade(database.owner_url)
    refused(database, InsufficientPrivilege, "DELETE FROM fork_proposals", role="bifold_app")

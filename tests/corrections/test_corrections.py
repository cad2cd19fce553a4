"""Corrections: proposed by one, posted when another agrees; nobody sets a balance."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from wallet import ledger
from wallet.corrections import service
from wallet.corrections.document import MOST_BYTES, BatchIn, read_batch
from wallet.corrections.service import Correction
from wallet.db import Database, Session
from wallet.errors import FourEyesRequired, InvalidField, InvalidState, NotFound, WalletError
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.ledger.errors import (
    AccountFrozen,
    AlreadyReversed,
    InsufficientFunds,
    LedgerError,
    Unbalanced,
)
from wallet.testing.books import ASSETS, ETH, fund, move, new_principal
from wallet.testing.databases import ScratchDatabase
from wallet.testing.topups import TopupWorld
from wallet.topups import strays

GOODWILL = "expense:correction:EUR"


def batch(*entries: list[tuple[str, str]], reason: str = "a letter of the 3rd") -> BatchIn:
    """Entries of (account, amount)."""
    document = {
        "reason": reason,
        "entries": [
            {"note": "as agreed", "postings": [{"account": a, "amount": m} for a, m in entry]}
            for entry in entries
        ],
    }
    return read_batch(orjson.dumps(document))


async def propose(db: Database, wanted: BatchIn, *, by: str = "ada") -> Correction:
    async with db.transaction() as session:
        return await service.propose_entries(session, wanted, by=by, assets=ASSETS)


async def propose_reversal(db: Database, entry: str, *, by: str = "ada") -> Correction:
    async with db.transaction() as session:
        return await service.propose_reversal(
            session, entry_id=entry, reason="wrong person", by=by, assets=ASSETS
        )


async def approve(db: Database, made: Correction, *, by: str = "bob") -> Correction:
    async with db.transaction() as session:
        return await service.approve(session, made.id, by=by, assets=ASSETS)


async def total(session: Session, who: str) -> int:
    return await ledger.balance_of(session, accounts.customer(who, "EUR"))


async def entries(db: Database) -> int:
    async with db.transaction() as session:
        return int(await session.scalar(text("SELECT count(*) FROM entries")) or 0)


async def paid(db: Database) -> tuple[str, str, str]:
    """Ada's 100, 40 of which went to Bob by an entry; (ada, bob, entry)."""
    async with db.transaction() as session:
        ada, bob = await new_principal(session), await new_principal(session)
        await fund(session, ada, 100)
        entry = await move(
            session, accounts.customer(ada, "EUR"), accounts.customer(bob, "EUR"), 40
        )
    return ada, bob, entry


class TestReversal:
    async def test_is_posted_when_a_second_person_agrees(self, db: Database) -> None:
        ada, bob, entry = await paid(db)
        made = await propose_reversal(db, entry)
        assert made.state == "proposed" and await entries(db) == 2  # rehearsed, not posted
        with pytest.raises(FourEyesRequired):
            await approve(db, made, by="ada")
        done = await approve(db, made)
        assert (done.state, done.ended_by, len(done.entry_ids)) == ("posted", "bob", 1)
        async with db.transaction() as session:
            assert [await total(session, who) for who in (ada, bob)] == [100, 0]
            row = (
                await session.execute(
                    text("SELECT * FROM entries WHERE id = :id"), {"id": done.entry_ids[0]}
                )
            ).one()
            told = await session.execute(text("SELECT principal_id, type, ref FROM outbox"))
            notices = sorted(tuple(line) for line in told)
        assert (row.kind, row.reverses) == ("reversal", entry)
        assert row.meta == {
            "reason": "wrong person", "of": "test", "correction": made.id, "proposed_by": "ada",
            "approved_by": "bob",
        }  # fmt: skip
        assert notices == sorted((who, "balance.corrected", made.id) for who in (ada, bob))
        with pytest.raises(InvalidState):
            await approve(db, made)
        with pytest.raises(AlreadyReversed):
            await propose_reversal(db, entry)

    async def test_is_proposed_once_at_a_time(self, db: Database) -> None:
        _, _, entry = await paid(db)
        made = await propose_reversal(db, entry)
        with pytest.raises(InvalidState, match="proposed already"):
            await propose_reversal(db, entry, by="eve")
        async with db.transaction() as session:
            await service.dismiss(session, made.id, by="ada")
        with pytest.raises(InvalidState):
            await approve(db, made)
        await propose_reversal(db, entry, by="eve")

    async def test_two_approvals_at_once_post_one(self, db: Database) -> None:
        ada, _, entry = await paid(db)
        made = await propose_reversal(db, entry)

        async def agree(by: str) -> bool:
            try:
                await approve(db, made, by=by)
            except InvalidState:
                return False
            return True

        assert sorted(await asyncio.gather(*(agree(n) for n in ("bob", "eve", "joe")))) == [
            False, False, True
        ]  # fmt: skip
        async with db.transaction() as session:
            assert await total(session, ada) == 100

    async def test_what_is_spent_is_refused_when_proposed_and_when_approved(
        self, db: Database
    ) -> None:
        ada, bob, entry = await paid(db)
        made = await propose_reversal(db, entry)
        async with db.transaction() as session:
            await move(session, accounts.customer(bob, "EUR"), accounts.capital("EUR"), 1)
        with pytest.raises(InsufficientFunds):
            await approve(db, made)
        async with db.transaction() as session:
            assert (await service.get(session, made.id)).state == "proposed"
            assert [await total(session, who) for who in (ada, bob)] == [60, 39]
            await service.dismiss(session, made.id, by="eve")
        with pytest.raises(InsufficientFunds):
            await propose_reversal(db, entry)
        async with db.transaction() as session:
            assert await service.listed(session) == []  # a refused proposal leaves no row

    async def test_of_what_lies_on_a_chain_or_in_a_flow_is_refused(self, db: Database) -> None:
        async with db.transaction() as session:
            ada = await new_principal(session)
            arrived = await move(
                session, accounts.on_chain("local", "ETH", "deposit"),
                accounts.customer(ada, "ETH"), 5,
            )  # fmt: skip
            funded = await move(
                session, accounts.customer(ada, "ETH"), accounts.payments_in_transit("ETH"), 5
            )
        with pytest.raises(InvalidField, match=r"chain:local:ETH:deposit was not read"):
            await propose_reversal(db, arrived)
        with pytest.raises(InvalidField, match="payments keep it in step"):
            await propose_reversal(db, funded)

    async def test_of_a_correction_is_a_correction_like_any_other(self, db: Database) -> None:
        ada, _, _ = await paid(db)
        made = await propose(db, batch([(GOODWILL, "-5.00"), (f"customer:{ada}:EUR", "5.00")]))
        done = await approve(db, made)
        await approve(db, await propose_reversal(db, done.entry_ids[0]))
        async with db.transaction() as session:
            assert await total(session, ada) == 60
            assert await ledger.balance_of(session, accounts.correction_expense("EUR")) == 0

    async def test_of_nothing_is_not_found(self, db: Database) -> None:
        with pytest.raises(NotFound):
            await propose_reversal(db, new_id("ent"))


class TestEntries:
    async def test_are_posted_together(self, db: Database) -> None:
        ada, bob, _ = await paid(db)
        a, b = f"customer:{ada}:EUR", f"customer:{bob}:EUR"
        made = await propose(
            db, batch([(GOODWILL, "-5.00"), (a, "5.00")], [(a, "-0.65"), (b, "0.65")])
        )
        assert await entries(db) == 2
        with pytest.raises(FourEyesRequired):
            await approve(db, made, by="ada")
        done = await approve(db, made)
        assert len(done.entry_ids) == 2
        async with db.transaction() as session:
            assert [await total(session, who) for who in (ada, bob)] == [495, 105]
            assert await ledger.balance_of(session, accounts.correction_expense("EUR")) == 500
            rows = await session.execute(
                text(
                    "SELECT kind, ref, meta->>'approved_by' AS by FROM entries WHERE id = ANY(:i)"
                ),
                {"i": done.entry_ids},
            )
            assert {tuple(row) for row in rows} == {("correction", made.id, "bob")}
            trial = await ledger.trial_balance(session)
        assert set(trial.values()) == {0}

    async def test_one_refusal_at_approval_leaves_nothing(self, db: Database) -> None:
        ada, bob, _ = await paid(db)
        a, b = f"customer:{ada}:EUR", f"customer:{bob}:EUR"
        made = await propose(
            db, batch([(GOODWILL, "-1.00"), (a, "1.00")], [(b, "-0.40"), (a, "0.40")])
        )
        async with db.transaction() as session:
            await move(session, accounts.customer(bob, "EUR"), accounts.capital("EUR"), 1)
        before = await entries(db)
        with pytest.raises(InsufficientFunds, match=r"^Entry 2 of 2: "):
            await approve(db, made)
        assert await entries(db) == before
        async with db.transaction() as session:
            assert await total(session, ada) == 60
            assert (await service.get(session, made.id)).state == "proposed"

    async def test_a_frozen_customer_is_not_debited(self, db: Database) -> None:
        ada, _, _ = await paid(db)
        async with db.transaction() as session:
            await session.execute(
                text("SELECT ledger_set_status(id, 'frozen') FROM accounts"
                     " WHERE principal_id = :who"), {"who": ada},
            )  # fmt: skip
        with pytest.raises(AccountFrozen):
            await propose(db, batch([(f"customer:{ada}:EUR", "-0.10"), (GOODWILL, "0.10")]))

    @pytest.mark.parametrize(
        ("wanted", "error", "words"),
        [
            ([("CUSTOMER", "1.00"), (GOODWILL, "-1.01")], Unbalanced, "sum to zero"),
            ([("CUSTOMER", "1.00"), ("CUSTOMER", "-1.00")], LedgerError, "named_twice"),
            ([("customer:usr_N:EUR", "1.00"), (GOODWILL, "-1.00")], InvalidField, "no account"),
            ([("house:capitol:EUR", "1.00"), (GOODWILL, "-1.00")], InvalidField, "no account"),
            ([("expense:correction:XXX", "1"), (GOODWILL, "-1.00")], InvalidField, "no account"),
            ([("payments:in_transit:EUR", "1.00"), (GOODWILL, "-1.00")], InvalidField, "payments"),
            ([("payouts:r:in_transit:EUR", "1.00"), (GOODWILL, "-1.00")], InvalidField, "payouts"),
            ([("receivable:p:EUR", "1.00"), (GOODWILL, "-1.00")], InvalidField, "collected"),
            ([("house:profit_taken:EUR", "1.00"), (GOODWILL, "-1.00")], InvalidField, "treasury"),
            ([("unattributed:bank:EUR", "-7.01"), ("CUSTOMER", "7.01")], InvalidField, "that much"),
            ([("bank:main:EUR", "1.00"), (GOODWILL, "-1.00")], InvalidField, "was not read"),
            ([("CUSTOMER", "0.00"), (GOODWILL, "0.00")], WalletError, "greater than zero"),
            ([("CUSTOMER", "1e3"), (GOODWILL, "-1000")], WalletError, "plain digits"),
            ([("CUSTOMER", "+1.00"), (GOODWILL, "-1.00")], WalletError, "plain digits"),
            ([("CUSTOMER", "--1.00"), (GOODWILL, "1.00")], WalletError, "plain digits"),
            ([("CUSTOMER", "0.001"), (GOODWILL, "-0.001")], WalletError, "decimals"),
        ],
    )  # fmt: skip
    async def test_what_may_not_be_posted_is_refused_when_proposed(
        self, db: Database, wanted: list[tuple[str, str]], error: type[WalletError], words: str
    ) -> None:
        ada, _, _ = await paid(db)
        async with db.transaction() as session:
            for spec in (
                accounts.payments_in_transit("EUR"), accounts.payout_in_transit("r", "EUR"),
                accounts.receivable("p", "EUR"), accounts.profit_taken("EUR"),
                accounts.bank("main", "EUR"), accounts.unattributed("bank", "EUR"),
            ):  # fmt: skip
                await move(session, accounts.capital("EUR"), spec, 700)
        before = await entries(db)
        lines = [(a.replace("CUSTOMER", f"customer:{ada}:EUR"), m) for a, m in wanted]
        with pytest.raises(error, match=words):
            await propose(db, batch(lines))
        assert await entries(db) == before
        async with db.transaction() as session:
            assert await service.listed(session, open_only=False) == []

    async def test_what_belongs_to_nobody_is_given_to_its_owner(self, db: Database) -> None:
        ada, _, _ = await paid(db)
        async with db.transaction() as session:
            await move(
                session, accounts.capital("EUR"), accounts.unattributed("simbank", "EUR"), 700
            )
        wanted = batch([("unattributed:simbank:EUR", "-7.00"), (f"customer:{ada}:EUR", "7.00")])
        await approve(db, await propose(db, wanted))
        async with db.transaction() as session:
            assert await total(session, ada) == 760

    async def test_arrivals_that_wait_for_their_owner_are_not_given_away(
        self, db: Database, database: ScratchDatabase
    ) -> None:
        """10 lie on the account, 7 of them have a row that `bifold deposits` will settle."""
        async with db.transaction() as session:
            ada = await new_principal(session)
            await fund(session, ada, 1, ETH)
            await move(session, accounts.capital("ETH"), accounts.unattributed("local", "ETH"), 10)
            entry = await session.scalar(text("SELECT max(id) FROM entries"))
        with psycopg.connect(database.conninfo("bifold_owner")) as owner:
            owner.execute(
                "INSERT INTO unattributed_arrivals (id, network, address, asset, amount_minor,"
                " at_block, block_hash, block_time, entry_id)"
                " VALUES ('una_1', 'local', '0xab', 'ETH', 7, 1, '0x1', now(), %s)",
                (entry,),
            )

        def give(wei: int) -> BatchIn:
            amount = f"0.{wei:018d}"
            return batch(
                [("unattributed:local:ETH", f"-{amount}"), (f"customer:{ada}:ETH", amount)]
            )

        with pytest.raises(InvalidField, match="bifold deposits propose"):
            await propose(db, give(4))
        await approve(db, await propose(db, give(3)))
        with pytest.raises(InvalidField, match="does not hold that much"):
            await propose(db, give(1))


class TestFile:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"balance": "1.00"}, "balance"),
            ({"reason": ""}, "reason"),
            ({"reason": None}, "reason"),
            ({"entries": []}, "entries"),
            ({"entries": [{"note": "x", "postings": []}]}, "postings"),
            ({"entries": [{"note": "x", "set": 1, "postings": [
                {"account": "a:b", "amount": "1"}, {"account": "a:c", "amount": "-1"}]}]}, "set"),
            ({"entries": [{"note": "x", "postings": [
                {"account": "a:b", "amount": 1}, {"account": "a:c", "amount": "-1"}]}]}, "amount"),
        ],
    )  # fmt: skip
    def test_says_entries_and_nothing_else(self, change: dict[str, Any], words: str) -> None:
        good: dict[str, Any] = {
            "reason": "why",
            "entries": [
                {
                    "note": "x",
                    "postings": [
                        {"account": "a:b", "amount": "1"}, {"account": "a:c", "amount": "-1"}
                    ],
                }
            ],
        }  # fmt: skip
        assert read_batch(orjson.dumps(good)).reason == "why"
        with pytest.raises(InvalidField, match=words):
            read_batch(orjson.dumps(good | change))

    @pytest.mark.parametrize("raw", [b"", b"not json", b"[]", b"{" + b" " * MOST_BYTES])
    def test_that_is_none_is_refused(self, raw: bytes) -> None:
        with pytest.raises(InvalidField):
            read_batch(raw)


class TestRow:
    @pytest.mark.parametrize("role", ["bifold_app", "bifold_owner"])
    @pytest.mark.parametrize(
        "change", ["document = '{}'", "proposed_by = 'eve'", "reason = 'other'"]
    )
    async def test_what_was_proposed_is_not_rewritten(
        self, db: Database, database: ScratchDatabase, role: str, change: str
    ) -> None:
        _, _, entry = await paid(db)
        await propose_reversal(db, entry)
        with (
            psycopg.connect(database.conninfo(role)) as connection,
            pytest.raises(psycopg.Error, match=r"permission denied|stays what was proposed"),
        ):
            connection.execute(f"UPDATE corrections SET {change}".encode())

    async def test_the_database_itself_wants_four_eyes(self, db: Database) -> None:
        _, _, entry = await paid(db)
        made = await propose_reversal(db, entry)
        with pytest.raises(DBAPIError, match="corrections_"):
            async with db.transaction() as session:
                await session.execute(
                    text(
                        "UPDATE corrections SET state = 'posted', ended_by = 'ada',"
                        " ended_at = now(), entry_ids = '{}' WHERE id = :id"
                    ),
                    {"id": made.id},
                )

    async def test_an_ended_one_stays_as_it_ended(
        self, db: Database, database: ScratchDatabase
    ) -> None:
        _, _, entry = await paid(db)
        await approve(db, await propose_reversal(db, entry))
        for deed in ("UPDATE corrections SET ended_by = 'eve'", "DELETE FROM corrections"):
            with (
                psycopg.connect(database.conninfo("bifold_owner")) as owner,
                pytest.raises(psycopg.errors.RaiseException),
            ):
                owner.execute(deed.encode())


async def test_a_transfer_that_waits_for_its_owner_is_not_given_away(
    database: ScratchDatabase,
) -> None:
    """Else two pairs of operators credit it twice: once by a correction, once as a top-up."""
    db, other = Database(database.operator_url), Database(database.app_url)
    try:
        world = TopupWorld(db, other)
        who, owner = await world.person(EUR="1.00"), await world.person()
        await world.transfer("a stranger's words", "5.00")
        async with db.transaction() as session:
            (stray,) = await strays.strays(session, world.assets)
        aside = f"unattributed:{stray.bank}:EUR"
        grab = batch([(aside, "-5.00"), (f"customer:{who}:EUR", "5.00")])
        with pytest.raises(InvalidField, match="does not hold that much"):
            await propose(db, grab)
        async with db.transaction() as session:
            await strays.propose(
                session, world.assets, stray_id=stray.id, principal_id=owner, by="ada"
            )
        async with db.transaction() as session:
            await strays.approve(
                session, world.assets, stray_id=stray.id, principal_id=owner, by="bob"
            )
        assert await world.balance(owner, "EUR") == "5.00"
        assert await world.balance(who, "EUR") == "1.00"
        await world.assert_sound()
    finally:
        await db.dispose()
        await other.dispose()

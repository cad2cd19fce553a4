"""The command, its report, its checkpoint; and that its role writes nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.audit.breaking import ADA, BEN, customer, new_entry
from tests.audit.conftest import Books
from wallet.auditor.check import Check
from wallet.auditor.record import keep
from wallet.auditor.run import ROOMS, CannotRead, audit

ROOT = Path(__file__).resolve().parents[2]
BROKEN = "UPDATE accounts SET balance_minor = balance_minor + 1 WHERE path = 'house:capital:EUR'"
OLD = (
    "UPDATE postings SET amount_minor = amount_minor + 1 WHERE id = (SELECT min(id) FROM postings)"
)


FILES = ("BIFOLD_NETWORKS_FILE", "BIFOLD_KEYS_FILE")


def command(
    books: Books, *options: str, url: str | None = None, files: dict[str, str] | None = None
) -> tuple[int, str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BIFOLD_")}
    ran = subprocess.run(
        [sys.executable, "-m", "wallet.cli", "audit", *options],
        cwd=ROOT,
        env=kept
        | {
            "BIFOLD_AUDIT_DATABASE_URL": url or books.url("bifold_audit"),
            "BIFOLD_NETWORKS_FILE": str(books.files / "networks.toml"),
            "BIFOLD_KEYS_FILE": str(books.files / "keys.json"),
        }
        | (files or {}),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return ran.returncode, ran.stdout, ran.stderr


class TestCommand:
    def test_clean_books_are_clean_and_kept(self, books: Books) -> None:
        code, told, _ = command(books)
        assert code == 0 and "✓ Everything agrees" in told and "local: read at final block" in told
        assert books.value("SELECT count(*) FROM audit_runs WHERE findings = 0") == 1
        assert books.value("SELECT count(*) FROM audit_checkpoints") > 10

    def test_a_break_is_named_with_what_should_be_there(self, books: Books) -> None:
        books.plant(BROKEN)
        code, told, _ = command(books, "--json", "--no-chain")
        assert code == 1
        report = json.loads(told)
        [found] = [one for one in report["findings"] if one["code"] == "balance_system_off"]
        assert (found["subject"], found["asset"]) == ("house:capital:EUR", "EUR")
        assert int(found["found"]) - int(found["expected"]) == 1
        assert report["run"] == books.value("SELECT max(id) FROM audit_runs")
        code, told, _ = command(books, "--no-chain", "--no-record")
        assert code == 1 and "✗ balance_system_off: " in told and "should be" in told

    def test_what_could_not_be_asked_is_named(self, books: Books, tmp_path: Path) -> None:
        """Files that are not there: the books agree with themselves, and no more is said."""
        nowhere = {name: str(tmp_path / "nothing") for name in FILES}
        code, told, _ = command(books, files=nowhere)
        assert code == 0 and "✓ What could be asked agrees" in told
        assert "local: not known now: no networks file here names it" in told
        assert "addresses  not derived" in told
        report = json.loads(command(books, "--json", files=nowhere)[1])
        assert report["addresses_not_derived"] is True
        assert [one["unknown"] is not None for one in report["chains"]] == [True]

    def test_what_cannot_be_read_is_neither_clean_nor_broken(self, books: Books) -> None:
        code, told, why = command(books, url=books.url("bifold_audit") + "x")
        assert (code, told) == (2, "") and "nothing can be said" in why

    def test_the_codes_are_listed(self, books: Books) -> None:
        code, told, _ = command(books, "--codes")
        assert code == 0 and len(told.splitlines()) > 97 and "chain_deficit" in told


class TestCheckpoint:
    def test_only_what_is_new_is_read_and_a_new_break_is_found(self, books: Books) -> None:
        report = books.audit()
        keep(books.conninfo(), report)
        again = books.audit(since_checkpoint=True)
        assert (again.postings, again.findings) == (0, [])
        books.plant(BROKEN)
        assert "balance_system_off" in books.codes(since_checkpoint=True)

    def test_checkpoint_upon_checkpoint_is_the_whole(self, books: Books) -> None:
        """Ten postings at a time: what the last one says is what all postings say."""
        newest = books.value("SELECT max(id) FROM postings")
        with psycopg.connect(books.conninfo(), autocommit=True) as auditor:
            base = after = -1
            for upto in [*range(10, newest, 10), newest]:
                report = books.audit()
                report.settled = upto
                run = _recorded(auditor, after, upto)
                auditor.execute("SELECT audit_checkpoint(%s, %s, %s, %s)", (run, base, after, upto))
                base, after = run, upto
        off = books.value(
            "SELECT count(*) FROM (SELECT account_id, sum(amount_minor) AS sum, count(*) AS lines"
            " FROM postings GROUP BY 1) p FULL JOIN (SELECT * FROM audit_checkpoints"
            f" WHERE run_id = {base}) c USING (account_id)"
            " WHERE (p.sum, p.lines) IS DISTINCT FROM (c.sum_minor, c.lines)"
        )
        assert off == 0
        last = books.value(
            "SELECT count(*) FROM audit_checkpoints c JOIN accounts a ON a.id = c.account_id"
            f" WHERE c.run_id = {base} AND a.kind = 'customer'"
            " AND c.last_balance_minor <> a.balance_minor"
        )
        assert last == 0
        assert books.audit(since_checkpoint=True).findings == []

    def test_an_old_posting_that_changed_is_found_by_the_whole_audit(self, books: Books) -> None:
        keep(books.conninfo(), books.audit())
        books.plant(OLD)
        assert "entry_unbalanced" not in books.codes(since_checkpoint=True)
        assert "entry_unbalanced" in books.codes()

    def test_the_seal_is_followed_from_the_checkpoint(
        self, books: Books, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("wallet.auditor.run.SEAL_MARGIN_SECONDS", 0.0)
        keep(books.conninfo(), books.audit())
        again = books.audit(since_checkpoint=True)
        assert again.scope.sealed == books.value("SELECT max(seq) FROM seals")
        assert again.findings == []
        books.plant(OLD)
        assert "seal_entry_altered" not in books.codes(since_checkpoint=True)
        assert "seal_entry_altered" in books.codes()
        made = new_entry("transfer", (customer(ADA), -1), (customer(BEN), 1))
        books.plant(*made, "INSERT INTO unsealed VALUES ('ent_planted')", "SELECT seal(100)")
        found = books.codes(since_checkpoint=True)
        assert "transfer_entry_uncaused" in found
        assert not any(code.startswith("seal_") for code in found)
        books.plant("UPDATE entries SET ref = 'y' WHERE id = 'ent_planted'")
        assert "seal_entry_altered" in books.codes(since_checkpoint=True)

    def test_links_of_shortly_before_the_checkpoint_are_read_again(self, books: Books) -> None:
        keep(books.conninfo(), books.audit())
        books.plant(OLD)
        assert "seal_entry_altered" in books.codes(since_checkpoint=True)

    def test_a_torn_seal_makes_no_checkpoint(self, books: Books) -> None:
        books.plant("UPDATE seals SET hash = sha256('x') WHERE seq = 7")
        keep(books.conninfo(), books.audit())
        assert books.value("SELECT count(*) FROM audit_checkpoints") == 0

    def test_broken_books_make_no_checkpoint(self, books: Books) -> None:
        books.plant(BROKEN)
        keep(books.conninfo(), books.audit())
        assert books.value("SELECT count(*) FROM audit_checkpoints") == 0

    def test_nothing_is_settled_while_somebody_may_still_commit(
        self, books: Books, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("wallet.auditor.run.SETTLE_SECONDS", 0.2)
        with psycopg.connect(books.conninfo("bifold_owner")) as writing:
            writing.execute("SELECT pg_current_xact_id()")
            assert books.audit().settled is None
        assert books.audit().settled == books.value("SELECT max(id) FROM postings")


def _recorded(auditor: psycopg.Connection[tuple[object, ...]], after: int, upto: int) -> int:
    report = {
        "started_at": "2026-01-01T00:00:00Z", "after_posting": after, "settled_posting": upto,
        "postings": 1, "seconds": "1", "chains": [], "findings": [],
    }  # fmt: skip
    row = auditor.execute("SELECT audit_record(%s::jsonb)", (json.dumps(report),)).fetchone()
    assert row is not None
    return int(str(row[0]))


class TestReaders:
    def test_all_readers_see_the_moment_in_which_the_audit_began(self, books: Books) -> None:
        """What is broken while they read is the next audit's to find."""
        asked: list[str] = []

        def told(room: str) -> None:
            if not asked:
                books.plant(BROKEN)
            asked.append(room)

        assert books.audit(told=told).findings == []
        assert len(asked) > 100
        assert "balance_system_off" in books.codes()

    def test_more_readers_find_the_same(
        self, books: Books, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        books.plant(BROKEN, OLD, "DELETE FROM events WHERE seq = 2")
        found = []
        for readers in (1, 2, 5):
            monkeypatch.setattr("wallet.auditor.run.READERS", readers)
            report = books.audit()
            found.append(([one.fingerprint for one in report.findings], report.checks))
        assert found[0][0] and found[0] == found[1] == found[2]

    def test_a_question_that_cannot_be_asked_leaves_the_books_unread(
        self, books: Books, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bad = Check("bad", "a question about nothing", "SELECT 1 FROM nothing_there")
        monkeypatch.setitem(ROOMS, "bank", (*ROOMS["bank"], bad))
        with pytest.raises(CannotRead, match="nothing_there"):
            books.audit()

    def test_of_each_check_in_a_pass_the_first_are_told(
        self, books: Books, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Many breaks of one do not hide another's, and the report says that there are more."""
        monkeypatch.setattr("wallet.auditor.run.FINDINGS_OF_ONE_CHECK", 1)
        books.plant(
            "UPDATE idempotency_answers SET principal_id = 'usr_else'"
            " WHERE route = '/v1/transfers'",
            'UPDATE idempotency_answers SET body = \'{"id": "wdr_x\\u0000"}\''
            " WHERE route = '/v1/withdrawals'",
        )
        report = books.audit()
        found = [one.code for one in report.findings]
        assert found.count("answer_transfer_off") == found.count("answer_withdrawal_off") == 1
        assert found.count("answer_unreadable") == 1
        assert "answer_transfer_off" in report.truncated


class TestRights:
    @pytest.mark.parametrize(
        "statement",
        [
            "INSERT INTO entries (id, kind, ref, event_at) VALUES ('x', 'x', 'x', now())",
            "UPDATE accounts SET balance_minor = 0",
            "DELETE FROM audit_findings",
            "INSERT INTO audit_checkpoints VALUES (1, 'x', 1, 0, 0, 0)",
            "DELETE FROM audit_pauses",
            "INSERT INTO audit_accepted VALUES ('x', 'x', 'x', 'x', 'x')",
            "SELECT ledger_post('[]')",
        ],
    )
    def test_the_auditor_writes_nothing_but_its_report(self, books: Books, statement: str) -> None:
        with (
            psycopg.connect(books.conninfo()) as auditor,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            auditor.execute(statement)

    @pytest.mark.parametrize(
        "statement",
        [
            "SELECT audit_record('{\"findings\": []}')",
            "SELECT audit_checkpoint(1, -1, -1, 1)",
            "INSERT INTO audit_runs (started_at, after_posting, postings, findings, seconds)"
            " VALUES (now(), -1, 0, 0, 0)",
            "UPDATE audit_runs SET findings = 0",
            "DELETE FROM audit_findings",
            "DELETE FROM audit_accepted",
            "SELECT * FROM audit_checkpoints",
        ],
    )
    def test_the_service_cannot_write_a_clean_report(self, books: Books, statement: str) -> None:
        with (
            psycopg.connect(books.conninfo("bifold_app")) as service,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            service.execute(statement)

    def test_it_reads_in_a_transaction_that_cannot_write(self, books: Books) -> None:
        """Even as the owner of everything it could not change a row."""
        report = audit(books.conninfo("bifold_owner"), books.instance, ask_chain=False)
        assert report.clean
        with pytest.raises(CannotRead):
            audit("host=/nowhere", books.instance)

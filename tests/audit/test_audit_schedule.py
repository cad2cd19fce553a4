"""`bifold audit --every`: the auditor again and again, in a process that alone knows its role."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.audit.conftest import Books
from wallet.auditor.schedule import PROGRAM, Schedule
from wallet.testing.pace import patience

ROOT = Path(__file__).resolve().parents[2]
MISSED = "UPDATE audit_runs SET ended_at = ended_at - interval '16 minutes'"


def told(books: Books, url: str | None = None) -> dict[str, str]:
    return {
        "BIFOLD_AUDIT_DATABASE_URL": url or books.url("bifold_audit"),
        "BIFOLD_NETWORKS_FILE": str(books.files / "networks.toml"),
        "BIFOLD_KEYS_FILE": str(books.files / "keys.json"),
    }


def schedule(books: Books, *program: str, **more: str) -> Schedule:
    return Schedule(told(books) | more, minutes=15, program=program or PROGRAM)


def test_it_audits_when_one_is_due_and_whole_once_a_day(books: Books) -> None:
    auditor = schedule(books)
    assert auditor.look() == 0
    assert auditor.look() is None
    books.plant(MISSED)
    assert auditor.look() == 0
    after = "SELECT array_agg(after_posting < 0 ORDER BY id) FROM audit_runs"
    assert books.value(after) == [True, False]
    books.plant("UPDATE audit_runs SET ended_at = ended_at - interval '25 hours'")
    assert auditor.look() == 0
    assert books.value(after) == [True, False, True]


def test_a_clock_set_back_stops_no_audit(books: Books) -> None:
    """A report of later than now counted as fresh until that hour came again."""
    auditor = schedule(books)
    assert auditor.look() == 0
    books.plant("UPDATE audit_runs SET ended_at = ended_at + interval '2 hours'")
    assert (auditor.look(), auditor.look()) == (0, None)
    assert books.value("SELECT count(*) FROM audit_runs WHERE after_posting < 0") == 2


@pytest.mark.parametrize(
    ("said", "code"), [("raise SystemExit(2)", 2), ("import os; os._exit(9)", 9)]
)
def test_what_could_not_be_read_is_said_and_is_due_again(
    books: Books, capfd: pytest.CaptureFixture[str], said: str, code: int
) -> None:
    broken = schedule(books, sys.executable, "-c", said)
    assert (broken.look(), broken.look()) == (code, code)
    assert f"the books could not be read (exit {code})" in capfd.readouterr().err
    assert books.value("SELECT count(*) FROM audit_runs") == 0


def test_an_audit_gets_no_other_address(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIFOLD_DATABASE_URL", "secret")
    spy = "import os, sys; sys.exit(9 if 'secret' in str(dict(os.environ)) else 0)"
    assert schedule(books, sys.executable, "-c", spy, BIFOLD_DATABASE_URL="secret").look() == 0


def test_an_address_that_cannot_be_read_is_not_repeated(
    books: Books, capfd: pytest.CaptureFixture[str]
) -> None:
    url = "postgres+driver://bifold_audit:canary-of-a-password@127.0.0.1/bifold"
    assert Schedule(told(books, url), minutes=15).look() == 2
    ran = subprocess.run(
        PROGRAM, env={"PYTHONPATH": str(ROOT), **told(books, url)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    said = capfd.readouterr().err
    assert ran.returncode == 2 and "does not begin with" in ran.stderr
    assert "cannot be reached" in said
    assert "canary" not in said + ran.stderr


@pytest.mark.parametrize("minutes", ["0", "1441", "soon"])
def test_an_odd_pace_is_refused(minutes: str) -> None:
    program = [sys.executable, "-m", "wallet.auditor", "--every", minutes]
    ran = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 2 and "--every" in ran.stderr


def test_it_goes_on_until_it_is_ended(books: Books) -> None:
    """The command as a service runs it: one audit soon after it began, and an end in order."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BIFOLD_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "wallet.auditor", "--every", "15"], cwd=ROOT, env=kept | told(books)
    )
    try:
        until = time.monotonic() + patience(60)
        while not books.value("SELECT count(*) FROM audit_runs") and time.monotonic() < until:
            time.sleep(0.2)
        assert books.value("SELECT count(*) FROM audit_runs") == 1
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(patience(10)) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()

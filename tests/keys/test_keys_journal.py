"""The journal remembers what was signed, through torn lines, and refuses an altered past."""

from __future__ import annotations

import os
import resource
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from keys.book import Entry
from keys.errors import JournalCorrupt, JournalFailed, NonceConflict, VaultExists, VaultLocked
from keys.journal import FORMAT, Journal
from keys.secret import Secret

KEY = Secret(b"journal key of this test")
PAY = Entry(
    at="2026-11-22T10:00:00.000+00:00",
    day="2026-11-22",
    chain_id=31_337,
    address="0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    nonce=0,
    intent_id="wdr_1",
    kind="pay",
    payload_hash="aa" * 32,
    body_hash="bb" * 32,
    cap=200,
    tip=10,
    asset="native",
    amount=10**18,
)
BUMP = replace(PAY, kind="bump", payload_hash="ab" * 32, cap=230, tip=12)
CANCEL = replace(
    PAY, kind="cancel", payload_hash="cc" * 32, body_hash="cd" * 32, asset="", amount=0
)
NEXT = replace(PAY, nonce=1, intent_id="wdr_2", payload_hash="dd" * 32, body_hash="de" * 32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.log"


def _written(path: Path, *entries: Entry) -> None:
    journal = Journal.create(path, KEY)
    for entry in entries:
        journal.append(entry)
        journal.flush()
    journal.close()


class TestReplay:
    def test_what_was_flushed_is_known_again(self, path: Path) -> None:
        _written(path, PAY, BUMP, NEXT)
        journal = Journal.open(path, KEY)
        assert all(journal.book.knows(entry) for entry in (PAY, BUMP, NEXT))
        assert journal.book.spent(31_337, "native", "2026-11-22") == 2 * 10**18
        assert journal.book.next_nonce(31_337, PAY.address) == 2
        journal.append(replace(NEXT, nonce=2, intent_id="wdr_3"))
        journal.flush()
        journal.close()
        again = Journal.open(path, KEY)
        assert len(again.book) == 3
        again.close()

    def test_what_was_not_flushed_is_not(self, path: Path) -> None:
        journal = Journal.create(path, KEY)
        journal.append(PAY)
        assert journal.has_pending
        journal.close()
        again = Journal.open(path, KEY)
        assert len(again.book) == 0
        again.close()

    def test_lines_that_a_killed_signer_never_synced_are_on_disk_before_they_count(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They stand in the page cache: the same request is signed without another line. After a
        sync that failed the cache calls them clean, so that a sync alone would write nothing."""
        _written(path, PAY, NEXT)
        done: list[tuple[str, bytes]] = []
        real_pwrite, real_fsync = os.pwrite, os.fsync

        def pwrite(descriptor: int, data: bytes, at: int) -> int:
            done.append(("write", bytes(data)))
            return real_pwrite(descriptor, data, at)

        def fsync(descriptor: int) -> None:
            done.append(("sync", b""))
            real_fsync(descriptor)

        monkeypatch.setattr(os, "pwrite", pwrite)
        monkeypatch.setattr(os, "fsync", fsync)
        before = path.read_bytes()
        Journal.open(path, KEY).close()
        assert done[-1][0] == "sync"
        assert b"".join(data for _, data in done) == before == path.read_bytes()

    def test_a_disk_that_takes_them_no_more_stops_the_start(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _written(path, PAY)

        def failing(_descriptor: int) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "fsync", failing)
        with pytest.raises(JournalFailed):
            Journal.open(path, KEY)

    def test_a_line_torn_anywhere_is_cut_off(self, path: Path) -> None:
        """Whatever part of the last line a crash left behind, the lines before it stay."""
        _written(path, PAY)
        whole_before = path.read_bytes()
        journal = Journal.open(path, KEY)
        journal.append(NEXT)
        journal.flush()
        journal.close()
        whole = path.read_bytes()
        for length in range(len(whole_before), len(whole)):
            path.write_bytes(whole[:length])
            torn = Journal.open(path, KEY)
            assert len(torn.book) == 1
            torn.append(NEXT)
            torn.flush()
            torn.close()
            assert path.read_bytes() == whole

    def test_zeros_after_a_power_cut_are_cut_off(self, path: Path) -> None:
        _written(path, PAY)
        whole = path.read_bytes()
        path.write_bytes(whole + bytes(10_000))
        Journal.open(path, KEY).close()
        assert path.read_bytes() == whole

    def test_the_file_is_private(self, path: Path) -> None:
        _written(path, PAY)
        assert path.stat().st_mode & 0o777 == 0o600


class TestAltered:
    def test_every_flipped_byte_is_noticed_or_torn(self, path: Path) -> None:
        """A flip inside a finished line is refused; in the last line end it tears that line."""
        _written(path, PAY, NEXT)
        content = path.read_bytes()
        for position in range(len(content) - 1):
            flipped = bytearray(content)
            flipped[position] ^= 0x01
            path.write_bytes(bytes(flipped))
            with pytest.raises(JournalCorrupt):
                Journal.open(path, KEY)

    def test_a_missing_line_is_noticed(self, path: Path) -> None:
        _written(path, PAY, BUMP, NEXT)
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:2] + lines[3:]))
        with pytest.raises(JournalCorrupt, match="line 3"):
            Journal.open(path, KEY)

    def test_swapped_lines_are_noticed(self, path: Path) -> None:
        _written(path, PAY, NEXT)
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([lines[0], lines[2], lines[1]]))
        with pytest.raises(JournalCorrupt):
            Journal.open(path, KEY)

    def test_another_vaults_journal_is_refused(self, path: Path) -> None:
        _written(path, PAY)
        with pytest.raises(JournalCorrupt):
            Journal.open(path, Secret(b"another key"))

    def test_a_lost_journal_is_not_begun_anew(self, path: Path) -> None:
        with pytest.raises(JournalCorrupt, match="missing"):
            Journal.open(path, KEY)
        path.write_bytes(b"")
        with pytest.raises(JournalCorrupt):
            Journal.open(path, KEY)
        path.write_bytes(FORMAT[:-1])
        with pytest.raises(JournalCorrupt):
            Journal.open(path, KEY)


class TestOneWriter:
    def test_a_second_signer_is_locked_out(self, path: Path) -> None:
        journal = Journal.create(path, KEY)
        with pytest.raises(VaultLocked):
            Journal.open(path, KEY)
        journal.close()
        Journal.open(path, KEY).close()

    def test_it_is_never_created_twice(self, path: Path) -> None:
        Journal.create(path, KEY).close()
        with pytest.raises(VaultExists):
            Journal.create(path, KEY)


class TestDiskTrouble:
    def test_after_a_failed_write_nothing_more_is_written(self, path: Path) -> None:
        """The file-size limit of the process stands in for a full disk."""
        journal = Journal.create(path, KEY)
        journal.append(PAY)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, hard))
            with pytest.raises(JournalFailed):
                journal.flush()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, ignored)
        with pytest.raises(JournalFailed, match="earlier"):
            journal.flush()
        journal.close()
        again = Journal.open(path, KEY)
        assert len(again.book) == 0
        again.close()

    def test_a_closed_descriptor_is_a_failure(self, path: Path) -> None:
        journal = Journal.create(path, KEY)
        journal.append(PAY)
        os.close(journal._descriptor)
        with pytest.raises(JournalFailed):
            journal.flush()
        journal._descriptor = -1


class TestBook:
    @pytest.fixture
    def journal(self, path: Path) -> Journal:
        journal = Journal.create(path, KEY)
        journal.append(PAY)
        journal.flush()
        return journal

    @pytest.mark.parametrize(
        ("entry", "reason"),
        [
            (replace(PAY, payload_hash="ee" * 32), "nonce_used"),
            (replace(PAY, payload_hash="ee" * 32, kind="noop"), "nonce_used"),
            (replace(PAY, intent_id="wdr_9"), "nonce_used"),
            (replace(PAY, intent_id="wdr_9", payload_hash="ee" * 32), "nonce_used"),
            (replace(BUMP, intent_id="wdr_9"), "nonce_used"),
            (replace(CANCEL, intent_id="wdr_9"), "nonce_used"),
            (replace(BUMP, body_hash="ee" * 32), "not_a_fee_bump"),
            (replace(BUMP, cap=200), "not_a_fee_bump"),
            (replace(BUMP, cap=150), "not_a_fee_bump"),
            (replace(BUMP, tip=9), "not_a_fee_bump"),
            (replace(BUMP, nonce=1), "nonce_unknown"),
            (replace(PAY, nonce=1, payload_hash="ee" * 32), "intent_reused"),
            (replace(PAY, chain_id=1, payload_hash="ee" * 32), "intent_reused"),
        ],
    )
    def test_what_a_used_nonce_refuses(self, journal: Journal, entry: Entry, reason: str) -> None:
        with pytest.raises(NonceConflict) as caught:
            journal.book.knows(entry)
        assert caught.value.reason == reason
        journal.close()

    def test_what_a_used_nonce_allows(self, journal: Journal) -> None:
        assert journal.book.knows(PAY)
        assert not journal.book.knows(BUMP)
        assert not journal.book.knows(CANCEL)
        assert not journal.book.knows(NEXT)
        assert not journal.book.knows(replace(PAY, address="0xother", intent_id="wdr_5"))
        journal.close()

    def test_a_cancelled_intent_is_never_paid_elsewhere(self, path: Path) -> None:
        journal = Journal.create(path, KEY)
        journal.append(CANCEL)
        with pytest.raises(NonceConflict, match="intent_reused"):
            journal.book.knows(replace(PAY, nonce=4))
        with pytest.raises(NonceConflict, match="nonce_used"):
            journal.book.knows(PAY)
        journal.close()

    def test_bumps_and_cancels_do_not_count_against_the_day(self, journal: Journal) -> None:
        journal.append(BUMP)
        journal.append(CANCEL)
        assert journal.book.spent(31_337, "native", "2026-11-22") == 10**18
        journal.close()

    def test_a_new_day_begins_at_zero_and_an_old_one_does_not_return(
        self, journal: Journal
    ) -> None:
        book = journal.book
        assert book.spent(31_337, "native", "2026-11-23") == 0
        assert book.effective_day("2026-11-21") == "2026-11-22"
        journal.append(replace(NEXT, day="2026-11-23", amount=5))
        assert book.spent(31_337, "native", "2026-11-23") == 5
        assert book.effective_day("2026-11-22") == "2026-11-23"
        journal.close()

"""The signer's memory: an append-only file, made durable before a signature leaves.

One line per signed payload: an HMAC chained over all lines before it, a space, a JSON object. An
edited, swapped or missing line is noticed at the next start; an unfinished last line (kill -9, full
disk, power cut) was never acknowledged and is cut off. What the file cannot show is that its end
was cut at a line border: custody.md says who must not be able to write there.
"""

from __future__ import annotations

import fcntl
import hmac
import json
import logging
import os
from pathlib import Path
from typing import Final, Self

from keys.book import Book, Entry
from keys.errors import JournalCorrupt, JournalFailed, VaultExists, VaultLocked
from keys.files import write_atomically
from keys.secret import Secret

JOURNAL_FILE: Final = "journal.log"
FORMAT: Final = b"bifold signer journal 1\n"
MAX_LINE_BYTES: Final = 4_096
TAIL_BYTES: Final = 8 * 1024 * 1024
"""More than all requests at once can have had written when a sync failed or was never reached."""
CHUNK_BYTES: Final = 65_536
log = logging.getLogger(__name__)


class Journal:
    """The journal of one vault, locked by this process. `book` holds what it says."""

    def __init__(self, descriptor: int, key: Secret) -> None:
        """Use `create` or `open`."""
        self.book = Book()
        self.failed = False
        self._descriptor = descriptor
        self._key = key
        self._mac = _mac(key, b"", FORMAT)
        self._pending: list[bytes] = []

    @classmethod
    def create(cls, path: Path, key: Secret) -> Self:
        """A new, empty journal. Raises `VaultExists` when the file is there."""
        if path.exists():
            raise VaultExists(f"{path.name} already exists")
        write_atomically(path, FORMAT)
        return cls.open(path, key)

    @classmethod
    def open(cls, path: Path, key: Secret) -> Self:
        """Read an existing journal. Raises `JournalCorrupt` when it is missing or altered (a lost
        journal is never begun anew by itself), `VaultLocked` when another signer has it and
        `JournalFailed` when the disk does not take its end."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            raise JournalCorrupt(f"{path.name} is missing beside its vault") from None
        journal = cls(descriptor, key)
        journal._lock(path)
        try:
            journal._replay()
            journal._write_tail_again(path)
        except BaseException:
            journal.close()
            raise
        return journal

    @property
    def has_pending(self) -> bool:
        """True while an appended entry is not yet durable."""
        return bool(self._pending)

    def append(self, entry: Entry) -> None:
        """Remember an entry; `flush` or the writer of `take_pending` makes it durable."""
        text = json.dumps(entry.document(), separators=(",", ":")).encode("ascii")
        self._mac = _mac(self._key, self._mac, text)
        self._pending.append(self._mac.hex().encode("ascii") + b" " + text + b"\n")
        self.book.learn(entry)

    def take_pending(self) -> bytes:
        """The lines not yet written, which the caller now must `write`."""
        lines, self._pending = b"".join(self._pending), []
        return lines

    def write(self, lines: bytes) -> None:
        """Append and fsync. Raises `JournalFailed`, and from then on for every later call: after a
        failed fsync nobody knows what the disk holds."""
        if self.failed:
            raise JournalFailed("the journal failed earlier; restart the signer")
        try:
            self._write(lines)
        except OSError as error:
            self.failed = True
            raise JournalFailed(f"the journal cannot be written: {error.strerror}") from error

    def flush(self) -> None:
        """Make everything appended durable, in this thread."""
        if self.failed or self._pending:
            self.write(self.take_pending())

    def close(self) -> None:
        """Release the lock. Entries not flushed are lost, as their signatures never left."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _lock(self, path: Path) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise VaultLocked(f"another process holds {path.name}") from None

    def _write(self, lines: bytes) -> None:
        view = memoryview(lines)
        while view:
            view = view[os.write(self._descriptor, view) :]
        os.fsync(self._descriptor)

    def _replay(self) -> None:
        """Check every line, learn its entry, cut an unfinished tail."""
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            file.seek(0)
            if file.readline(len(FORMAT)) != FORMAT:
                raise JournalCorrupt("line 1: not a journal of this version")
            end, number = len(FORMAT), 1
            while line := file.readline(MAX_LINE_BYTES):
                number += 1
                if not line.endswith(b"\n"):
                    if b"\n" in file.read():
                        raise JournalCorrupt(f"line {number}: longer than any entry")
                    self._cut(end)
                    return
                self._learn_line(line, number)
                end += len(line)

    def _write_tail_again(self, path: Path) -> None:
        """Make durable what was read: a signer that was killed, or whose sync failed, leaves lines
        in the page cache that no disk has. After a failed sync they count as clean there, so they
        are written again, the same bytes in their place. Raises `JournalFailed`."""
        try:
            end = os.fstat(self._descriptor).st_size
            # Apart from the descriptor that appends: there the system would write behind the end.
            with open(path, "r+b", buffering=0) as file:
                for at in range(max(0, end - TAIL_BYTES), end, CHUNK_BYTES):
                    _write_at(file.fileno(), os.pread(file.fileno(), CHUNK_BYTES, at), at)
                os.fsync(file.fileno())
        except OSError as error:
            raise JournalFailed(f"the journal cannot be written: {error.strerror}") from error

    def _learn_line(self, line: bytes, number: int) -> None:
        """Check one line's MAC and learn its entry. Raises `JournalCorrupt`."""
        mac, _, text = line[:-1].partition(b" ")
        expected = _mac(self._key, self._mac, text)
        if not hmac.compare_digest(mac, expected.hex().encode("ascii")):
            raise JournalCorrupt(f"line {number}: altered, or of another vault")
        self._mac = expected
        try:
            self.book.learn(Entry.from_document(json.loads(text)))
        except (ValueError, TypeError, KeyError) as error:
            raise JournalCorrupt(f"line {number}: {type(error).__name__}") from error

    def _cut(self, end: int) -> None:
        log.warning("journal: cut an unfinished last line after byte %d", end)
        os.ftruncate(self._descriptor, end)
        os.fsync(self._descriptor)


def _write_at(descriptor: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, at)
        view, at = view[written:], at + written


def _mac(key: Secret, previous: bytes, text: bytes) -> bytes:
    return hmac.digest(key.reveal(), previous + text, "sha256")

"""What happened in a schedule, line by line, and its hash: two runs of one seed compare by it.

On a fake node every line is the same each time, byte for byte: requests and answers as they went
over the transport, what a fault did to them, each step that the flows pass, and the rows that say
where every payment stands. Ids are made from a counter while a trace is on, and a worker's waits
are counted in its passes.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ulid import ULID

from wallet import clock, crashpoints, ids

EPOCH_MS = 1_700_000_000_000


class Trace:
    """A log of one seed. `file` keeps its lines, for `diff`; the hash is all that is needed."""

    def __init__(self, file: Path | None = None) -> None:
        self.lines = 0
        self.passes = 0
        self._hash = hashlib.sha256()
        self._file: IO[bytes] | None = None if file is None else file.open("wb")

    def line(self, kind: str, content: bytes | str = b"") -> None:
        """One event."""
        self.lines += 1
        text = content.encode() if isinstance(content, str) else content
        entry = b"%s %s\n" % (kind.encode(), text)
        self._hash.update(entry)
        if self._file is not None:
            self._file.write(entry)

    def exchanged(self, request: bytes, answer: bytes) -> None:
        """What a fake node was asked, and said."""
        self.line(">", request)
        self.line("<", answer)

    @property
    def digest(self) -> str:
        """SHA-256 of all lines so far."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """Close its file."""
        if self._file is not None:
            self._file.close()


@contextmanager
def counted_ids() -> Iterator[None]:
    """Ids one after the other, the same in each run, sortable by age as real ones are."""
    numbers = itertools.count(1)

    def next_ulid() -> ULID:
        number = next(numbers)
        return ULID.from_bytes((EPOCH_MS + number).to_bytes(6, "big") + number.to_bytes(10, "big"))

    ids.install(next_ulid)
    try:
        yield
    finally:
        ids.install(None)


@contextmanager
def counted_seconds(trace: Trace) -> Iterator[None]:
    """A worker's pass takes a second, in each run: none is longer on a slow machine."""
    clock.install(lambda: float(trace.passes))
    try:
        yield
    finally:
        clock.install(None)


class Points:
    """The crash points of a run: each is a line of the trace, and `act` may die there."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.act: Callable[[str], None] | None = None

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Listen until the block ends."""
        crashpoints.install(self._pass)
        try:
            yield
        finally:
            crashpoints.install(None)

    def _pass(self, name: str) -> None:
        self._trace.line("*", name)
        if self.act is not None:
            self.act(name)

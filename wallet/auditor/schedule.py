"""`bifold audit --every MINUTES`: audits again and again, each time in a process of its own.

The one process of a service that holds the address of `bifold_audit`. Once in 24 hours it reads
everything, in between it starts from the last checkpoint. What could not be read is said in its log
and tried again; the worker misses the report and opens a case (docs/audit.md).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

import psycopg

from wallet.auditor.address import driver_url

FIRST_SECONDS = TICK_SECONDS = 5.0
AFTER_FAILURE_SECONDS = 60.0
LONGEST_SECONDS = 1_800.0
"""An audit that takes longer is ended and counts as one that could not read."""
WHOLE_HOURS = 24
POLL_SECONDS = 0.1
PROGRAM: Sequence[str] = (sys.executable, "-m", "wallet.auditor", "--json")
URL = "BIFOLD_AUDIT_DATABASE_URL"
COULD_READ = (0, 1)
COULD_NOT = 2
_OURS = (URL, "BIFOLD_DATA_DIR", "BIFOLD_NETWORKS_FILE", "BIFOLD_KEYS_FILE")
_KEPT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "HOME", "VIRTUAL_ENV")


class Schedule:
    """`told`: the variables of this instance, by name, the address of the books among them."""

    def __init__(
        self, told: Mapping[str, str], *, minutes: int, program: Sequence[str] = PROGRAM
    ) -> None:
        self._url = told[URL]
        self._minutes, self._program = minutes, program
        self._environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        self._environment |= {name: told[name] for name in _OURS if name in told}
        self._stop = threading.Event()

    def keep(self) -> int:
        """Audit when it is due until SIGINT or SIGTERM. Returns the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stop.set())
        pause = FIRST_SECONDS
        while not self._stop.wait(pause):
            code = self.look()
            pause = TICK_SECONDS if code is None or code in COULD_READ else AFTER_FAILURE_SECONDS
        return 0

    def look(self) -> int | None:
        """Audit if one is due: the auditor's exit code, None where none is."""
        try:
            due, whole = self._due()
        except psycopg.Error as error:
            _say(f"the books cannot be reached: {unsaid(self._url, str(error).strip())}")
            return COULD_NOT
        if not due:
            return None
        code = self._audit([] if whole else ["--since-checkpoint"])
        if code not in COULD_READ and not self._stop.is_set():
            _say(f"the books could not be read (exit {code})")
        return code

    def _due(self) -> tuple[bool, bool]:
        """Whether one is due, and whether it must read everything. Raises psycopg.Error."""
        with psycopg.connect(driver_url(self._url), autocommit=True) as connection:
            row = connection.execute(
                "SELECT coalesce(max(ended_at)"
                "  < clock_timestamp() - make_interval(mins => %s), true),"
                " coalesce(max(ended_at) FILTER (WHERE after_posting < 0)"
                "  < clock_timestamp() - make_interval(hours => %s), true) FROM audit_runs"
                # One of later than now is of before the clock was set back.
                " WHERE ended_at <= clock_timestamp() + interval '1 minute'",
                (self._minutes, WHOLE_HOURS),
            ).fetchone()
        assert row is not None
        return bool(row[0]), bool(row[1])

    def _audit(self, options: Sequence[str]) -> int:
        """One audit, in the end or killed; what it says against itself goes to our own log."""
        process = subprocess.Popen(
            [*self._program, *options], env=self._environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        until = time.monotonic() + LONGEST_SECONDS
        try:
            while process.poll() is None and time.monotonic() < until:
                if self._stop.wait(POLL_SECONDS):
                    break
        finally:
            if process.poll() is None:
                process.kill()
        return process.wait()


def unsaid(url: str, said: str) -> str:
    """Without the address of the books: a driver that cannot read one repeats it, with its
    password, and what is said here is kept in logs."""
    rest = url.partition("://")[2]
    secret = rest.rpartition("@")[0].partition(":")[2]
    for word in sorted({url, driver_url(url), rest, secret} - {""}, key=len, reverse=True):
        said = said.replace(word, "…")
    return said


def _say(words: str) -> None:
    sys.stderr.write(f"bifold audit: {words}\n")
    sys.stderr.flush()

"""The worker starts the auditor every few minutes, as a process with a role and a life of its own.

It gets where the books are and nothing else: no capability, no other role's address. Between two
whole audits it starts from the last checkpoint. What it could not read is said aloud, never taken
for clean.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping, Sequence

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import cases
from wallet.audits.acts import act
from wallet.db import Database
from wallet.settings import Settings

TICK_SECONDS = 5.0
WHOLE_HOURS = 24
LONGEST_SECONDS = 1_800.0
"""An audit that takes longer is ended and counts as one that could not read."""
PROGRAM: Sequence[str] = (sys.executable, "-m", "wallet.auditor", "--json")
_COULD_READ = (0, 1)
_KEPT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "HOME", "VIRTUAL_ENV")
log = structlog.get_logger(__name__)


class AuditSchedule:
    """`tick` starts what is due and acts on every report, whoever made it."""

    def __init__(self, db: Database, settings: Settings, program: Sequence[str] = PROGRAM) -> None:
        self._db, self._settings, self._program = db, settings, program
        self._told_none = False

    async def tick(self) -> None:
        """One look. An audit runs inside it: the loop has one leader, so there is one at a time."""
        async with self._db.transaction() as session:
            await act(session)
            due, whole = await self._due(session)
        if not due:
            return
        if self._settings.audit_database_url is None:
            if not self._told_none:
                log.warning("audit.not_scheduled", reason="BIFOLD_AUDIT_DATABASE_URL is not set")
            self._told_none = True
            return
        code, said = await self._run(whole=whole)
        async with self._db.transaction() as session:
            if code not in _COULD_READ:
                await cases.open_case(
                    session, kind="audit_away", subject="audit",
                    what="The books could not be audited; nothing is known about them now.",
                    evidence={"exit": str(code), "said": said[-500:]},
                )  # fmt: skip
            await act(session)
        if code not in _COULD_READ:
            raise RuntimeError(f"the auditor could not read (exit {code})")  # the loop backs off

    async def _due(self, session: AsyncSession) -> tuple[bool, bool]:
        """Whether one is due, and whether it must read everything."""
        row = (
            await session.execute(
                text(
                    "SELECT coalesce(max(ended_at) < clock_timestamp()"
                    "  - make_interval(mins => :minutes), true) AS due,"
                    " coalesce(max(ended_at) FILTER (WHERE after_posting < 0)"
                    "  < clock_timestamp() - make_interval(hours => :hours), true) AS whole"
                    " FROM audit_runs"
                ),
                {"minutes": self._settings.audit_minutes, "hours": WHOLE_HOURS},
            )
        ).one()
        return bool(row.due), bool(row.whole)

    async def _run(self, *, whole: bool) -> tuple[int, str]:
        """The auditor's exit code and what it said where it could not read."""
        options = [] if whole else ["--since-checkpoint"]
        process = await asyncio.create_subprocess_exec(
            *self._program,
            *options,
            env=self._environment(os.environ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, said = await asyncio.wait_for(process.communicate(), LONGEST_SECONDS)
        except TimeoutError:
            return -1, f"no end within {LONGEST_SECONDS:.0f} seconds"
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        return int(process.returncode or 0), self._unsaid(said.decode("utf-8", "replace"))

    def _unsaid(self, said: str) -> str:
        """Without the address of the books: a driver that cannot read one repeats it, with its
        password, and what is said here is kept in a case."""
        url = str(self._settings.audit_database_url)
        rest = url.partition("://")[2]
        secret = rest.rpartition("@")[0].partition(":")[2]
        for word in sorted({url, rest, secret} - {""}, key=len, reverse=True):
            said = said.replace(word, "…")
        return said

    def _environment(self, ours: Mapping[str, str]) -> dict[str, str]:
        settings = self._settings
        return {name: ours[name] for name in _KEPT if name in ours} | {
            "BIFOLD_AUDIT_DATABASE_URL": str(settings.audit_database_url),
            "BIFOLD_DATA_DIR": str(settings.data_dir),
            "BIFOLD_NETWORKS_FILE": str(settings.networks_path),
            "BIFOLD_KEYS_FILE": str(settings.keys_path),
        }

"""The worker acts on the auditor's reports, and says so when none comes any more.

It neither starts the auditor nor knows its role's address: whoever runs code as the worker writes
no report and reads nothing by it (docs/audit.md).
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import cases
from wallet.audits.acts import act
from wallet.clock import rfc3339
from wallet.db import Database
from wallet.settings import Settings

TICK_SECONDS = 5.0
PATIENCE = timedelta(minutes=30)
"""As long as an audit may take: it is missed that long after it was due."""


class AuditWatch:
    """`tick` acts on every report, whoever made it, and opens a case when one is missed."""

    def __init__(self, db: Database, settings: Settings) -> None:
        self._db, self._settings = db, settings
        self._began = time.monotonic()

    async def tick(self) -> None:
        """One look. Safe to repeat."""
        async with self._db.transaction() as session:
            await act(session)
            if self._settings.audit_minutes:
                await self._miss(session)

    async def _miss(self, session: AsyncSession) -> None:
        """A report that could not be made is missed like one that nobody was there to make. Before
        the first one counts how long this process waits for it."""
        row = (
            await session.execute(
                text(
                    "SELECT max(ended_at) AS newest, clock_timestamp() AS now FROM audit_runs"
                    # One of later than now is of before the clock was set back.
                    " WHERE ended_at <= clock_timestamp() + interval '1 minute'"
                )
            )
        ).one()
        newest: datetime | None = row.newest
        waited = timedelta(seconds=time.monotonic() - self._began)
        if newest is not None:
            waited = row.now - newest
        if waited <= timedelta(minutes=self._settings.audit_minutes) + PATIENCE:
            return
        since = "ever" if newest is None else f"since {rfc3339(newest)}"
        await cases.open_case(
            session, kind="audit_away", subject="audit",
            what=f"No audit has read the books {since}; nothing is known about them now. The"
            " auditor (bifold audit --every) does not run, or says in its log why it cannot.",
            evidence={"newest": None if newest is None else rfc3339(newest)},
        )  # fmt: skip

"""The job that gives a new withdrawal its first push; the runner's loop would get there too."""

from __future__ import annotations

from collections.abc import Mapping

from wallet.db import Database
from wallet.onchain import IntentRunner
from wallet.withdrawals import repository


class WithdrawalTasks:
    """Handlers of this slice's jobs; built once, idempotent."""

    def __init__(self, db: Database, runners: Mapping[str, IntentRunner]) -> None:
        self._db = db
        self._runners = runners

    async def submit(self, withdrawal_id: str) -> None:
        """Work on the withdrawal's network now. Where another worker is at it, leave it to that."""
        async with self._db.transaction() as session:
            network = await repository.network_of(session, withdrawal_id)
        runner = self._runners.get(network or "")
        if runner is not None:
            await runner.tick()

"""Procrastinate behind two doors: `enqueue` on the caller's session, `JobRunner` in a worker.

An interrupted job runs again, so every handler is idempotent. A worker that dies without a word is
noticed by its heartbeat; its jobs are taken over within 15 s (heartbeat 3 s, stalled after 10 s,
sweep each 3 s).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import procrastinate
import structlog
from procrastinate import BaseRetryStrategy, RetryDecision
from procrastinate.exceptions import AlreadyEnqueued, ProcrastinateException, UniqueViolation
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

HEARTBEAT_SECONDS = 3.0
STALLED_AFTER_SECONDS = 10.0
SWEEP_SECONDS = 3.0
CONCURRENCY = 8
QUEUE = "default"
MAX_BACKOFF_SECONDS = 30

Handler = Callable[..., Awaitable[None]]
log = structlog.get_logger(__name__)


class _PatientRetry(BaseRetryStrategy):
    """Again and again, a little later each time, never more than 30 s apart."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """Jobs of money are never given up: the state machine ends them, not a counter."""
        log.warning(
            "job.failed",
            task=job.task_name,
            attempts=job.attempts,
            error=type(exception).__name__,
            detail=str(exception)[:300],
        )
        return RetryDecision(retry_in={"seconds": min(MAX_BACKOFF_SECONDS, 1 + 2 * job.attempts)})


class _Manager(JobManager):
    """Ends a job that was to run again while the same work waits under its `once` name."""

    async def retry_job(self, job: Job, *args: Any, **kwargs: Any) -> None:
        """Without this the name's uniqueness would leave the job `doing` until its worker ends."""
        try:
            await super().retry_job(job, *args, **kwargs)
        except UniqueViolation:
            log.info("job.superseded", job=job.id, task=job.task_name, once=job.queueing_lock)
            await self.finish_job(job, status=Status.SUCCEEDED, delete_job=True)


# Never opened: it only builds the public `defer` call, which runs on the caller's connection.
_deferrer = procrastinate.App(connector=procrastinate.PsycopgConnector())


async def enqueue(
    session: AsyncSession,
    task: str,
    *,
    delay_seconds: int = 0,
    once: str | None = None,
    **args: Any,
) -> None:
    """Promise a job in the caller's transaction: no commit, no job.

    `once` names the work: while a job of that name waits, a second one is not added.
    """
    if once is not None and await session.scalar(
        text(
            "SELECT 1 FROM jobs.procrastinate_jobs"
            " WHERE queueing_lock = :lock AND status = 'todo' LIMIT 1"
        ),
        {"lock": once},
    ):
        return
    try:
        async with session.begin_nested():
            # Asked for inside: SQLAlchemy sends the SAVEPOINT when the connection is first used.
            connection = await (await session.connection()).get_raw_connection()
            await _deferrer.configure_task(
                task,
                allow_unknown=True,
                queue=QUEUE,
                queueing_lock=once,
                schedule_in={"seconds": delay_seconds} if delay_seconds else None,
                connection=connection.driver_connection,
            ).defer_async(**args)
    except AlreadyEnqueued:
        return


class JobRunner:
    """One process's Procrastinate worker over its own small pool."""

    def __init__(
        self,
        dsn: str,
        *,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        stalled_after_seconds: float = STALLED_AFTER_SECONDS,
        sweep_seconds: float = SWEEP_SECONDS,
    ) -> None:
        self._heartbeat_seconds = heartbeat_seconds
        self._stalled_after_seconds = stalled_after_seconds
        self._sweep_seconds = sweep_seconds
        connector = procrastinate.PsycopgConnector(
            conninfo=dsn,
            min_size=1,
            max_size=4,
            kwargs={
                "options": "-c search_path=jobs,public -c timezone=UTC",
                "application_name": "bifold-jobs",
            },
        )
        self.app = procrastinate.App(connector=connector)
        self.app.job_manager = _Manager(connector)

    def register(self, name: str, handler: Handler) -> None:
        """Serve `name` with `handler`; raise in it to try again later."""
        self.app.task(name=name, queue=QUEUE, retry=_PatientRetry())(handler)

    async def run(self) -> None:
        """Work until cancelled; jobs in flight get 5 s to end."""
        async with self.app.open_async():
            sweep = asyncio.create_task(self._sweep())
            try:
                await self.app.run_worker_async(
                    queues=[QUEUE],
                    concurrency=CONCURRENCY,
                    install_signal_handlers=False,
                    listen_notify=True,
                    fetch_job_polling_interval=1.0,
                    update_heartbeat_interval=self._heartbeat_seconds,
                    stalled_worker_timeout=self._stalled_after_seconds,
                    shutdown_graceful_timeout=5.0,
                    delete_jobs="successful",
                )
            finally:
                sweep.cancel()

    async def _sweep(self) -> None:
        """Give the jobs of dead workers to the living, forever."""
        manager = self.app.job_manager
        while True:
            await asyncio.sleep(self._sweep_seconds)
            try:
                stalled = await manager.get_stalled_jobs(
                    seconds_since_heartbeat=self._stalled_after_seconds
                )
            except ProcrastinateException as error:
                log.warning("job.sweep_failed", error=type(error).__name__)
                continue
            for job in stalled:
                try:
                    await manager.retry_job(job)
                except ProcrastinateException as error:  # this one next time, the others now
                    log.warning("job.sweep_failed", job=job.id, error=type(error).__name__)
                else:
                    log.warning("job.taken_over", job=job.id, task=job.task_name)

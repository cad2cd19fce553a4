"""Slow work, promised in the transaction of the rows it serves and done by workers."""

from wallet.jobs.queue import JobRunner, enqueue
from wallet.jobs.supervise import Loop, run_loops

__all__ = ["JobRunner", "Loop", "enqueue", "run_loops"]

"""The little the supervisor says to and asks of the database, on one bare connection."""

from __future__ import annotations

import logging
import threading

import psycopg

NETWORK = "local"
CONNECT_TIMEOUT_SECONDS = 3
STATEMENT_TIMEOUT_MS = 3000

log = logging.getLogger(__name__)


class HouseDatabase:
    """Blocking; called from worker threads, one call at a time. Reconnects by itself.

    Its methods raise psycopg.Error when the database is away; callers try again later.
    """

    def __init__(self, url: str) -> None:
        self._conninfo = url.replace("postgresql+psycopg://", "postgresql://", 1)
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None

    def waiting_for_blocks(self) -> bool:
        """Whether anything on the local chain waits for confirmations."""
        row = self._execute("SELECT chain_waiting(%s)", NETWORK)
        return bool(row and row[0])

    def record_snapshot(self, height: int, block_hash: str | None) -> None:
        """Nothing above `height` may become final: it would be lost with the local node."""
        self._execute(
            "INSERT INTO network_state (network, snapshot_block, snapshot_hash) VALUES (%s, %s, %s)"
            " ON CONFLICT (network) DO UPDATE SET snapshot_block = EXCLUDED.snapshot_block,"
            " snapshot_hash = EXCLUDED.snapshot_hash",
            NETWORK,
            height,
            block_hash,
        )

    def forget_processes(self) -> None:
        """Drop what processes of an earlier run said; those that live say it again in seconds."""
        self._execute("DELETE FROM process_state")

    def record_process(self, name: str, *, healthy: bool, detail: str) -> None:
        """What /readyz says about one of our children."""
        self._execute(
            "INSERT INTO process_state (name, healthy, detail, at) "
            "VALUES (%s, %s, %s, clock_timestamp()) ON CONFLICT (name) DO UPDATE SET "
            "healthy = EXCLUDED.healthy, detail = EXCLUDED.detail, at = EXCLUDED.at",
            name,
            healthy,
            detail,
        )

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _execute(self, query: str, *values: object) -> tuple[object, ...] | None:
        with self._lock:
            if self._connection is None or self._connection.closed or self._connection.broken:
                self._connection = psycopg.connect(
                    self._conninfo,
                    autocommit=True,
                    connect_timeout=CONNECT_TIMEOUT_SECONDS,
                    application_name="bifold-supervisor",
                    options=f"-c search_path=public -c statement_timeout={STATEMENT_TIMEOUT_MS}",
                )
            cursor = self._connection.execute(query.encode(), values)
            return cursor.fetchone() if cursor.description else None

"""`./dev db-upgrade`: bring a data directory of an older PostgreSQL to the one we ship.

Dumps with the old binaries, restores into a new cluster beside it, then swaps the two. The old
folder stays as `postgres-<version>`; a crash at any moment leaves the old one or the new one whole.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from wallet.postgres import (
    DATABASE,
    POSTGRES_MAJOR,
    SUPERUSER,
    EmbeddedPostgres,
    PostgresError,
    binaries,
    ensure_roles,
)
from wallet.sandbox.config import SandboxConfig, SandboxError
from wallet.sandbox.runtime import locked, remove_runtime_dir, runtime_dir

DUMP_TIMEOUT_SECONDS = 3600


def upgrade(data_dir: Path) -> str:
    """Upgrade the cluster in `data_dir`/postgres; returns what was done. Raises PostgresError."""
    place = data_dir / "postgres"
    version_file = place / "PG_VERSION"
    if not version_file.exists():
        return f"There is no database in {place}; nothing to do."
    old_major = int(version_file.read_text().strip())
    if old_major == POSTGRES_MAJOR:
        return f"The database is PostgreSQL {POSTGRES_MAJOR} already; nothing to do."
    kept = data_dir / f"postgres-{old_major}"
    if kept.exists():
        raise PostgresError(f"{kept} is in the way; move it elsewhere first.")
    log_file, runtime = data_dir / "log" / "postgres.log", runtime_dir(data_dir)
    dump = data_dir / "postgres.dump"
    old = EmbeddedPostgres(place, runtime, major=old_major, log_file=log_file)
    old.start()
    try:
        client = binaries(old_major) / "pg_dump"
        _run([client, "-h", old.socket_dir, "-U", SUPERUSER, "-Fc", "-f", dump, DATABASE])
    finally:
        old.stop()
    upgrading = data_dir / "postgres.upgrading"
    shutil.rmtree(upgrading, ignore_errors=True)
    new = EmbeddedPostgres(upgrading, runtime, log_file=log_file)
    new.start()
    try:
        ensure_roles(new.conninfo())
        client = binaries() / "pg_restore"
        options = ("--exit-on-error", "--single-transaction")
        _run([client, "-h", new.socket_dir, "-U", SUPERUSER, "-d", DATABASE, *options, dump])
    finally:
        new.stop()
    finished = place.with_name(place.name + ".upgraded")
    upgrading.rename(finished)
    place.rename(kept)
    finished.rename(place)
    dump.unlink()
    remove_runtime_dir(runtime)
    return f"The database is PostgreSQL {POSTGRES_MAJOR} now; the old one is kept in {kept}."


def _run(command: Sequence[str | Path]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, timeout=DUMP_TIMEOUT_SECONDS)
    if result.returncode:
        words = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise PostgresError(f"{Path(command[0]).name}: {words}")


def main() -> int:
    """Upgrade under the data directory's lock; 1 with one line when it cannot be done."""
    try:
        config = SandboxConfig.from_env()
        with locked(config.data_dir, url="db-upgrade"):
            print(upgrade(config.data_dir))
    except (PostgresError, SandboxError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""S9 of the fault matrix: after the broadcast PostgreSQL dies, or its disk is full.

A real server, with every durable setting on. What it had committed before the broadcast, intent and
bytes, is there when it is back; one transaction is mined.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from tests.faults_send.conftest import Case
from wallet import crashpoints
from wallet.db import Database
from wallet.errors import DatabaseUnavailable
from wallet.postgres import EmbeddedPostgres
from wallet.testing.databases import ScratchDatabase

SPARE_BYTES = 24 * 2**20  # of the small disk, beyond the log that is there
SEGMENT_BYTES = 16 * 2**20  # as initdb makes it
SEGMENT_LEFT_BYTES = 256  # of the write-ahead log: less than any transaction writes
WRITE_TO_LOG = "SELECT pg_logical_emit_message(false, '', repeat('x', %s))"
GONE = (DatabaseUnavailable, OperationalError)  # a pass ends; its loop begins the next one
NO_SPACE = "No space left on device"
FILE_BYTES = 8 * 2**20  # half a segment of the log, and more than any other file here has
TOO_LARGE = "File too large"


@pytest.fixture
async def db(durable_database: ScratchDatabase) -> AsyncIterator[Database]:
    """In the place of the forgetful one: `case` stands on it."""
    db = Database(durable_database.app_url)
    yield db
    await db.dispose()


@pytest.fixture
def server(durable_database: ScratchDatabase) -> Iterator[EmbeddedPostgres]:
    """PostgreSQL of this test, running again at its end."""
    server = durable_database.server
    yield server
    if not server.alive():
        server.kill()
        server.start()


@contextmanager
def once_at(point: str, act: Callable[[], None]) -> Iterator[None]:
    """`act` the first time a pass comes to `point`."""
    todo = [act]

    def passing(name: str) -> None:
        if name == point and todo:
            todo.pop()()

    crashpoints.install(passing)
    try:
        yield
    finally:
        crashpoints.install(None)
    assert not todo, f"nothing came to {point}"


def kill_whole(server: EmbeddedPostgres) -> None:
    """SIGKILL for the postmaster and all its children: none of them finishes anything."""
    assert server.process is not None
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    server.process.send_signal(signal.SIGSTOP)  # it starts no new ones meanwhile
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    server.kill()


async def durable_before(case: Case) -> None:
    """What a server that has just recovered holds: the intent's nonce and the bytes that were
    sent, committed; not the word that they were sent."""
    [row] = await case.seam.rows(
        "SELECT i.state, i.nonce, a.raw, a.sends FROM chain_intents i"
        " JOIN chain_attempts a ON a.intent_id = i.id"
    )
    assert (row.state, row.nonce, row.sends) == ("signed", 0, 0)
    assert case.meddler.sent == ["0x" + bytes(row.raw).hex()]


@pytest.mark.parametrize(
    ("point", "mined_meanwhile"),
    [("intent.after_send", False), ("intent.before_commit_sent", True)],
)
async def test_s09_postgresql_is_killed_after_the_broadcast(
    case: Case, server: EmbeddedPostgres, point: str, mined_meanwhile: bool
) -> None:
    await case.seam.automine(mined_meanwhile)
    made = await case.withdraw()
    with once_at(point, lambda: kill_whole(server)), pytest.raises(GONE):
        for _ in range(3):
            await case.seam.pass_once()
    with pytest.raises(GONE):
        await case.seam.pass_once()
    server.start()
    await durable_before(case)
    if not mined_meanwhile:  # nor does the node keep it
        await case.seam.node("anvil_dropAllTransactions")
    case.stand()
    await case.seam.pass_once()
    assert len(case.meddler.sent) == (1 if mined_meanwhile else 2)
    await case.settled_once(made)
    assert len(set(case.meddler.sent)) == 1 and len(await case.fields()) == 1


@pytest.fixture
def full_disk(
    server: EmbeddedPostgres,
) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """The server's log moved to a small disk of its own: how to fill that, and how to make room."""
    if shutil.which("mount") is None:
        pytest.xfail("nothing here mounts a small disk")
    log = server.data_dir / "pg_wal"
    home = log.stat()
    disk = Path(tempfile.mkdtemp(prefix="small-", dir=server.data_dir.parent))
    size = SPARE_BYTES + sum(one.stat().st_size for one in log.rglob("*"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},uid={home.st_uid},gid={home.st_gid},mode=0700",
         "tmpfs", str(disk)], capture_output=True, text=True,
    )  # fmt: skip
    if mounted.returncode:
        disk.rmdir()
        pytest.xfail(f"nobody may mount a small disk here: {mounted.stderr.strip()}")
    server.stop()
    kept = log.rename(log.with_name("pg_wal.kept"))
    subprocess.run(["cp", "-a", f"{kept}/.", str(disk)], check=True)
    log.symlink_to(disk)
    try:
        server.start()
        filler = disk / "filler"
        yield lambda: _fill(server, disk, filler), filler.unlink
    finally:
        (disk / "filler").unlink(missing_ok=True)
        server.stop()
        log.unlink()
        log.mkdir(mode=0o700)
        os.chown(log, home.st_uid, home.st_gid)
        subprocess.run(["cp", "-a", f"{disk}/.", str(log)], check=True)
        subprocess.run(["rm", "-r", str(kept)], check=True)
        subprocess.run(["umount", str(disk)], check=True)
        disk.rmdir()
        server.start()


def _fill(server: EmbeddedPostgres, disk: Path, filler: Path) -> None:
    """Not a byte is left on the disk, and next to none in the last file of the log."""
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:

        def place() -> tuple[str, int]:
            found = connection.execute(
                "SELECT pg_walfile_name(at), (at - '0/0')::bigint FROM"
                " (SELECT pg_current_wal_insert_lsn() AS at) AS now"
            ).fetchone()
            assert found is not None
            return found[0], SEGMENT_BYTES - int(found[1]) % SEGMENT_BYTES

        current, _ = place()
        for spare in disk.glob("0*"):  # made in advance
            if spare.name > current:
                spare.unlink()
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match=NO_SPACE):
            while True:
                file.write(bytes(4096))
        while (left := place()[1]) > SEGMENT_LEFT_BYTES:
            size = min(2**20, (left - 160) * 9 // 10)
            connection.execute(WRITE_TO_LOG, (size,))
        assert place()[0] == current


@pytest.fixture
def short_files(server: EmbeddedPostgres) -> Iterator[Callable[[], None]]:
    """The server may make no file longer than half a segment of its log, of which one was begun:
    how to come to that end. Needs no right to mount anything."""
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute("SELECT pg_switch_wal()")
        connection.execute(WRITE_TO_LOG, (1,))
        connection.execute("CHECKPOINT")
    server.stop()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, hard))
    try:
        server.start()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    yield lambda: _come_to_the_end(server)
    server.kill()
    server.start()


def _come_to_the_end(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:

        def left() -> int:
            found = connection.execute(
                "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"
            ).fetchone()
            assert found is not None
            return FILE_BYTES - int(found[0]) % SEGMENT_BYTES

        while (now := left()) > SEGMENT_LEFT_BYTES:
            connection.execute(WRITE_TO_LOG, (min(2**20, (now - 160) * 9 // 10),))
        assert left() >= 0


async def test_s09_the_log_takes_no_more_after_the_broadcast(
    case: Case, server: EmbeddedPostgres, short_files: Callable[[], None]
) -> None:
    """As on a full disk, where nobody may mount one: the write of the commit fails."""
    await _out_of_room(case, server, short_files, lambda: None, TOO_LARGE)


async def test_s09_the_disk_is_full_after_the_broadcast(
    case: Case,
    server: EmbeddedPostgres,
    full_disk: tuple[Callable[[], None], Callable[[], None]],
) -> None:
    await _out_of_room(case, server, *full_disk, NO_SPACE)


async def _out_of_room(
    case: Case,
    server: EmbeddedPostgres,
    fill: Callable[[], None],
    make_room: Callable[[], None],
    why: str,
) -> None:
    assert server.log_file is not None
    said = server.log_file.stat().st_size
    await case.seam.observer.tick()
    made = await case.withdraw()
    with once_at("intent.after_send", fill), pytest.raises(GONE):
        for _ in range(3):
            await case.seam.pass_once()
    with pytest.raises(GONE):
        await case.seam.pass_once()
    words = server.log_file.read_bytes()[said:].decode("utf-8", "replace")
    assert why in words and "PANIC" in words
    make_room()
    server.kill()  # it gave up by itself
    server.start()
    await durable_before(case)
    case.stand()
    await case.settled_once(made)
    assert len(set(case.meddler.sent)) == 1 and len(await case.fields()) == 1

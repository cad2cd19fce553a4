"""How our own children start: dying with us, knowing nothing of us, and not as root."""

from __future__ import annotations

import ctypes
import gc
import os
import pwd
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_GC_YOUNG = 20_000  # objects between looks at the young ones; 700 are a few requests
NOT_EXECUTABLE = 126


class NoIdentity(Exception):
    """There is nobody but root here; the message is one plain line with the way out."""


def collect_seldom() -> None:
    """Once a server stands: what start-up made lives as long as the process, and no collection
    need look at it again; requests and blocks make many objects and few cycles. To collect first
    would cost a quarter of a second of the start and find next to nothing."""
    gc.freeze()
    gc.set_threshold(_GC_YOUNG, 20, 20)
    gc.enable()


def leave_no_core() -> None:
    """Let the kernel write no core file of this process, whatever the shell allowed.

    A server's memory holds what people just typed: passwords, tokens.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def die_with_parent(signum: signal.Signals) -> Callable[[], None]:
    """A `preexec_fn` by which the kernel sends `signum` to the child when its parent ends.

    Linux only; elsewhere the child lives on until the next start stops it. Must be used from a
    thread that outlives the child, because the kernel watches the thread that forked.
    """
    parent = os.getpid()
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def in_child() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0)
        if os.getppid() != parent:  # it ended before the call above
            os._exit(1)

    return in_child


@dataclass(frozen=True)
class Identity:
    """As whom the server runs: a command prefix, or a user to become; it refuses to be root."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    @staticmethod
    def choose(home: Path) -> Identity:
        """Ourselves; as root an own user namespace; where that is refused, or cannot enter the
        folder `home`, another user. Raises NoIdentity."""
        if os.geteuid() != 0:
            return Identity()
        # initdb wants its user to have a name, so the mapped number is one that has.
        known = {entry.pw_uid: entry.pw_gid for entry in pwd.getpwall() if entry.pw_uid != 0}
        unshare = shutil.which("unshare", path=clean_environment()["PATH"] + ":/usr/bin:/bin")
        mapped = 1000 if 1000 in known else max(known, default=1000)
        own_namespace = Identity(
            prefix=(unshare or "unshare", "--user", f"--map-user={mapped}", f"--map-group={mapped}")
        )
        if unshare and own_namespace.can_enter(home):
            return own_namespace
        if not known:
            raise NoIdentity(
                "PostgreSQL refuses to run as root, and this system has neither user namespaces "
                "nor another user; set BIFOLD_DATABASE_URL to a server of your own."
            )
        owner = home.stat().st_uid
        uid = owner if owner in known else max(known)
        return Identity(uid=uid, gid=known[uid])

    def can_enter(self, folder: Path) -> bool:
        """Whether this identity may search `folder`. Asks the shell, which is always there; a
        program named test may not be."""
        return self.run("/bin/sh", "-c", '[ -x "$1" ]', "sh", folder).returncode == 0

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command as this identity; one it may not execute answers as a shell would."""
        try:
            return subprocess.run(
                [*self.prefix, *command],
                capture_output=True,
                text=True,
                env=clean_environment(),
                cwd="/",
                user=self.uid,
                group=self.gid,
                extra_groups=None if self.uid is None else [],
            )
        except PermissionError as error:
            return subprocess.CompletedProcess(command, NOT_EXECUTABLE, "", str(error))


def clean_environment() -> dict[str, str]:
    """PATH only: no PG* variable and no locale of the caller reaches the server."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}

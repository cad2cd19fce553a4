"""Child processes: started with what they need and no more, watched, restarted, ended in time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wallet.processes import die_with_parent
from wallet.sandbox.config import SandboxError

LOG_LIMIT_BYTES = 8 * 1024 * 1024
BACKOFF_FIRST_SECONDS = 0.5
BACKOFF_LIMIT_SECONDS = 15.0
CALM_AFTER_SECONDS = 10.0  # a child that lived this long starts again without delay
TOOL_TIMEOUT_SECONDS = 120.0
# An interrupt of the terminal reaches the supervisor alone, which ends its children in order.
_OWN_SESSION = True

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Launch:
    """How to start one process: command, environment, and secrets handed down as descriptors.

    Each secret is written to a pipe of its own; `{name}` in the command, and the value of an
    environment variable listed in `fd_environment`, become the number of its reading end.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    secrets: Mapping[str, bytes] = field(default_factory=dict)
    fd_environment: Mapping[str, str] = field(default_factory=dict)


def pause_after(lived_seconds: float, last_pause: float) -> float:
    """Seconds before the next start: none after a calm life, else twice the last pause."""
    if lived_seconds > CALM_AFTER_SECONDS:
        return 0.0
    return min(max(BACKOFF_FIRST_SECONDS, 2 * last_pause), BACKOFF_LIMIT_SECONDS)


def open_log(path: Path) -> int:
    """A descriptor to append to; a log that has grown too long is moved aside first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_LIMIT_BYTES:
            path.replace(path.with_suffix(".log.1"))
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


async def spawn(launch: Launch, log_path: Path) -> asyncio.subprocess.Process:
    """Start a process that dies with us. Must be awaited on the main thread (see postgres.py)."""
    descriptors: dict[str, int] = {}
    log_descriptor = open_log(log_path)
    try:
        for name, secret in launch.secrets.items():
            descriptors[name], writing = os.pipe()
            os.write(writing, secret)  # far below a pipe's capacity: never blocks
            os.close(writing)
        numbers = {name: str(number) for name, number in descriptors.items()}
        command = [
            part.format(**numbers) if part.startswith("{") else part for part in launch.command
        ]
        environment = dict(launch.environment)
        environment |= {key: numbers[name] for key, name in launch.fd_environment.items()}
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log_descriptor,
            stderr=log_descriptor,
            env=environment,
            pass_fds=tuple(descriptors.values()),
            start_new_session=_OWN_SESSION,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
    finally:
        for descriptor in (log_descriptor, *descriptors.values()):
            os.close(descriptor)


def last_words(log_path: Path, since: int = 0) -> str:
    """The last line of a log, for a message to a person; none from before `since`, its length when
    the process began: what an earlier one said is not why this one ended."""
    try:
        with log_path.open("rb") as file:
            length = log_path.stat().st_size
            file.seek(max(since if since <= length else 0, length - 4096))
            lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line]
    except OSError:
        return ""
    return lines[-1].strip() if lines else ""


@dataclass
class Child:
    """A process that should always run. `state` is what it is called in /readyz."""

    name: str
    launch: Callable[[], Launch]
    log_path: Path
    stop_signal: signal.Signals = signal.SIGTERM
    process: asyncio.subprocess.Process | None = None
    restarts: int = 0
    state: str = "starting"
    started_at: float = 0.0
    log_since: int = 0
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def healthy(self) -> bool:
        return self.process is not None and self.process.returncode is None

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None and self.healthy else None

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    async def start(self) -> None:
        with contextlib.suppress(OSError):
            self.log_since = self.log_path.stat().st_size
        self.process = await spawn(self.launch(), self.log_path)
        self.started_at = time.monotonic()
        self.state = "running" if not self.restarts else f"running, restarted {self.restarts} times"

    async def keep(self) -> None:
        """Run it until `stop`: restart it when it ends, slower and slower while it keeps ending."""
        pause = 0.0
        while not self._stopping.is_set():
            if self.process is None or self.process.returncode is not None:
                await self.start()
            assert self.process is not None
            code = await self.process.wait()
            if self._stopping.is_set():
                return
            lived = time.monotonic() - self.started_at
            pause = pause_after(lived, pause)
            self.restarts += 1
            said = last_words(self.log_path, self.log_since)
            self.state = f"ended with {code} after {lived:.1f} s" + (f": {said}" if said else "")
            log.warning("%s %s", self.name, self.state)
            await asyncio.sleep(pause)

    async def stop(self, timeout_seconds: float) -> None:
        """Ask it to end; after the time it is killed."""
        self._stopping.set()
        if self.process is None or self.process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(self.stop_signal)
        try:
            await asyncio.wait_for(self.process.wait(), timeout_seconds)
        except TimeoutError:
            log.warning("%s did not end within %.1f s and is killed", self.name, timeout_seconds)
            await self.kill()

    async def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()


async def run_tool(
    module: str,
    *arguments: str,
    environment: Mapping[str, str],
    log_path: Path,
    on_terminal: bool = False,
) -> str:
    """Run one of our modules to its end and return what it printed; its errors go to the log.

    With `on_terminal` it writes to our own standard output instead, which is returned empty.
    Raises SandboxError with its last words when it fails.
    """
    log_descriptor = open_log(log_path)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", module, *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=None if on_terminal else asyncio.subprocess.PIPE,
            stderr=log_descriptor,
            env=dict(environment),
            start_new_session=_OWN_SESSION,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
    finally:
        os.close(log_descriptor)
    try:
        output, _ = await asyncio.wait_for(process.communicate(), TOOL_TIMEOUT_SECONDS)
    except TimeoutError:
        raise SandboxError(f"{module} did not end in {TOOL_TIMEOUT_SECONDS:.0f} s.") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise SandboxError(f"{module} failed: {last_words(log_path)} (see {log_path})")
    return output.decode() if output else ""

"""A whole sandbox of its own in a temporary folder, for end-to-end tests and benchmarks."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from wallet.processes import die_with_parent
from wallet.sandbox.config import free_port
from wallet.sandbox.ready import ask_ready
from wallet.sandbox.runtime import runtime_dir

READY_TIMEOUT_SECONDS = 90.0
STOP_TIMEOUT_SECONDS = 40.0
POLL_SECONDS = 0.1
ROOT = Path(__file__).resolve().parents[2]


class SandboxFailed(Exception):
    """It did not become ready; the message is what it said."""


class TemporarySandbox:
    """`python -m wallet.sandbox` on a free port; with `data_dir` the state outlives it.

    A context manager: ready on entry, ended (and a temporary folder removed) on exit.
    """

    def __init__(
        self, *, data_dir: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self._temporary = data_dir is None
        self.data_dir = data_dir or Path(tempfile.mkdtemp(prefix="bifold-sandbox-", dir="/tmp"))
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        self.output = self.data_dir / "output.txt"
        self._environment = dict(environment or {})
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return once /readyz says so. Raises SandboxFailed."""
        self.launch()
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        answer = "no answer"
        while time.monotonic() < deadline and self.running:
            ready, answer = ask_ready("127.0.0.1", self.port)
            if ready:
                return
            time.sleep(POLL_SECONDS)
        self.stop()
        raise SandboxFailed(f"{answer}\n{self.output.read_text('utf-8', 'replace')}")

    def launch(self) -> None:
        """Start it without waiting."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("BIFOLD_")}
        environment |= {
            "BIFOLD_DATA_DIR": str(self.data_dir),
            "BIFOLD_PORT": str(self.port),
            "PYTHONPATH": str(ROOT),
            **self._environment,
        }
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "wallet.sandbox"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=ROOT,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGTERM),
            )

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self, signum: signal.Signals = signal.SIGINT) -> float:
        """End it by a signal; the seconds that took. Kills it when it does not end."""
        began = time.monotonic()
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signum)
            try:
                self.process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return time.monotonic() - began

    def remove(self) -> None:
        """Forget its data and its sockets."""
        shutil.rmtree(runtime_dir(self.data_dir), ignore_errors=True)
        shutil.rmtree(self.data_dir, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            if self._temporary:
                self.remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        if self._temporary:
            self.remove()

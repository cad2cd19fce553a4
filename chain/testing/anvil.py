"""Starts Anvil as our own child on a free port. Linux and macOS.

Used by tests and by the sandbox's supervisor; loopback only, so its unlocked accounts stay ours.
"""

from __future__ import annotations

import asyncio
import os
import platform
import re
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Self

from chain.rpc import JsonRpc

LOCAL_CHAIN_ID = 31337
DEFAULT_KEEP_STATES = 32  # Deeper than any finality of ours (8); 1 s of dump at 5,000 blocks.
START_TIMEOUT_SECONDS = 60.0  # A snapshot of thousands of blocks takes seconds to load.
STOP_TIMEOUT_SECONDS = 5.0
DUMP_TIMEOUT_SECONDS = 60.0
DUMP_MAX_BYTES = 2 * 1024 * 1024 * 1024
_BINARY_VARIABLE = "BIFOLD_ANVIL_BIN"
_LISTENING = re.compile(r"Listening on 127\.0\.0\.1:(\d+)")
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_TAIL_LINES = 50


class AnvilMissing(Exception):
    """No Anvil binary was found; the message says how to get one."""

    code = "anvil_missing"


class AnvilDidNotStart(Exception):
    """Anvil ended or stayed silent; the message holds its last words."""

    code = "anvil_did_not_start"


def anvil_binary() -> Path:
    """BIFOLD_ANVIL_BIN, else the npm package beside the code. Raises AnvilMissing."""
    named = os.environ.get(_BINARY_VARIABLE)
    if named:
        path = Path(named)
    else:
        machine = _MACHINES.get(platform.machine().lower(), platform.machine().lower())
        package = f"anvil-{platform.system().lower()}-{machine}"
        root = Path(__file__).resolve().parents[2]
        path = root / "node_modules" / "@foundry-rs" / package / "bin" / "anvil"
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise AnvilMissing(
            f"no Anvil at {path}: run `npm install --ignore-scripts`, or set {_BINARY_VARIABLE}"
        )
    return path


class AnvilProcess:
    """One Anvil, started by `start`, ended by `stop` or `kill`; also a context manager of both
    kinds. A `preexec` that sets PR_SET_PDEATHSIG binds the node to the thread that starts it.

    `load_state` is a file written from `DevNode.dump_state`. `keep_states` bounds how many past
    states Anvil remembers: past balances and reorgs reach back so far, and snapshots grow with it.
    DEFAULT_KEEP_STATES covers every reorg and audit of the sandbox; None keeps all, which makes
    snapshots of a long chain huge. Block 1's hash survives a reload.
    """

    def __init__(
        self,
        *,
        load_state: Path | None = None,
        chain_id: int = LOCAL_CHAIN_ID,
        port: int = 0,
        keep_states: int | None = DEFAULT_KEEP_STATES,
        mine_on_send: bool = True,
        extra: Sequence[str] = (),
        preexec: Callable[[], None] | None = None,
    ) -> None:
        self._arguments = ["--host", "127.0.0.1", "--port", str(port), "--chain-id", str(chain_id)]
        if load_state is not None:
            self._arguments += ["--load-state", str(load_state)]
        if keep_states is not None:
            self._arguments += ["--prune-history", str(keep_states)]
        if not mine_on_send:
            self._arguments.append("--no-mining")
        self._arguments += list(extra)
        self._preexec = preexec
        self._process: subprocess.Popen[str] | None = None
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._port: int | None = None

    @property
    def url(self) -> str:
        """HTTP address of the running node."""
        if self._port is None:
            raise AnvilDidNotStart("Anvil is not running")
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """Process id of the running node."""
        if self._process is None:
            raise AnvilDidNotStart("Anvil is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start and wait until it listens. Raises AnvilMissing, AnvilDidNotStart."""
        if self.running:
            raise AnvilDidNotStart("Anvil runs already")
        process = subprocess.Popen(
            [str(anvil_binary()), *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                "PATH": os.environ.get("PATH", ""),
                "HOME": os.environ.get("HOME", "/"),
                "NO_COLOR": "1",
            },
            preexec_fn=self._preexec,
        )
        self._process = process
        listening = threading.Event()
        assert process.stdout is not None
        threading.Thread(
            target=self._drain, args=(process.stdout, listening), daemon=True, name="anvil-output"
        ).start()
        if not listening.wait(START_TIMEOUT_SECONDS) or self._port is None:
            self.kill()
            raise AnvilDidNotStart("Anvil did not start: " + " ".join(self._tail)[-500:])
        return self

    def stop(self) -> None:
        """End it politely, then by force after STOP_TIMEOUT_SECONDS."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._forget()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        self._forget()

    def rpc(self) -> JsonRpc:
        """A transport to this node, with limits high enough for its own snapshots."""
        return JsonRpc(self.url, timeout_seconds=DUMP_TIMEOUT_SECONDS, max_bytes=DUMP_MAX_BYTES)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)

    def _forget(self) -> None:
        if self._process is not None:
            self._process.wait()
        self._process = None
        self._port = None

    def _drain(self, output: IO[str], listening: threading.Event) -> None:
        """Read Anvil's output to its end: it logs every call and stops when its pipe is full."""
        with output:
            for line in output:
                self._tail.append(line.rstrip())
                match = _LISTENING.search(line)
                if match and not listening.is_set():
                    self._port = int(match[1])
                    listening.set()
        listening.set()  # It ended without listening: wake `start` to say so.

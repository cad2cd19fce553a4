"""Starts Ganache 7 as our own child on a free port: the second client our code must live with.

Ganache runs a raw transaction with nonce 0 again each time it is sent, has no fork beyond shanghai
and no eth_getBlockReceipts. Loopback only, so its unlocked accounts stay ours.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, Self

from chain.rpc import JsonRpc

GANACHE_CHAIN_ID = 31337
BALANCE_ETH = 1_000  # as it comes; what works with this works with a Ganache of anybody's
SEED = "bifold"  # the unlocked accounts are the same each time
START_TIMEOUT_SECONDS = 90.0
STOP_TIMEOUT_SECONDS = 5.0
_LISTENING = "RPC Listening on"
_TAIL_LINES = 50


class GanacheMissing(Exception):
    """Ganache or Node.js was not found; the message says how to get it."""

    code = "ganache_missing"


class GanacheDidNotStart(Exception):
    """Ganache ended or stayed silent; the message holds its last words."""

    code = "ganache_did_not_start"


def ganache_command() -> list[str]:
    """Node.js and the program of the npm package beside the code. Raises GanacheMissing."""
    program = (
        Path(__file__)
        .resolve()
        .parents[2]
        .joinpath("node_modules", "ganache", "dist", "node", "cli.js")
    )
    node = shutil.which("node")
    if node is None or not program.is_file():
        raise GanacheMissing(
            f"no node on PATH or no Ganache at {program}: run `npm install --ignore-scripts`"
        )
    return [node, str(program)]


class GanacheProcess:
    """One Ganache, started by `start`, ended by `stop` or `kill`; also a context manager of both
    kinds. It mines each transaction at once; `miner_stop` and `evm_mine` change that.

    It chooses no free port itself: one is found first, and may be lost to a rival before Ganache
    binds it (GanacheDidNotStart). `preexec` as at AnvilProcess.
    """

    def __init__(
        self,
        *,
        chain_id: int = GANACHE_CHAIN_ID,
        port: int = 0,
        preexec: Callable[[], None] | None = None,
    ) -> None:
        self._chain_id = chain_id
        self._wanted_port = port
        self._preexec = preexec
        self._process: subprocess.Popen[str] | None = None
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._port: int | None = None

    @property
    def url(self) -> str:
        """HTTP address of the running node."""
        if self._port is None:
            raise GanacheDidNotStart("Ganache is not running")
        return f"http://127.0.0.1:{self._port}"

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start and wait until it listens. Raises GanacheMissing, GanacheDidNotStart."""
        if self.running:
            raise GanacheDidNotStart("Ganache runs already")
        command = ganache_command()
        port = self._wanted_port or _free_port()
        process = subprocess.Popen(
            [
                *command,
                *("--server.host", "127.0.0.1", "--server.port", str(port)),
                *("--chain.chainId", str(self._chain_id), "--wallet.seed", SEED),
                *("--wallet.defaultBalance", str(BALANCE_ETH)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", "/")},
            preexec_fn=self._preexec,
        )
        self._process = process
        ended_or_listening = threading.Event()
        heard: list[str] = []
        assert process.stdout is not None
        threading.Thread(
            target=self._drain,
            args=(process.stdout, heard, ended_or_listening),
            daemon=True,
            name="ganache-output",
        ).start()
        if not ended_or_listening.wait(START_TIMEOUT_SECONDS) or not heard:
            self.kill()
            raise GanacheDidNotStart("Ganache did not start: " + " ".join(self._tail)[-500:])
        self._port = port
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
        """A transport to this node."""
        return JsonRpc(self.url)

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

    def _drain(self, output: IO[str], heard: list[str], done: threading.Event) -> None:
        """Read its output to the end: it logs every call and stops when its pipe is full."""
        with output:
            for line in output:
                self._tail.append(line.rstrip())
                if _LISTENING in line:
                    heard.append(line)
                    done.set()
        done.set()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

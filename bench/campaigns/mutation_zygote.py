"""Forks one pytest after the other for the mutation campaign: the libraries are imported once.

Runs by its path, so that nothing of the checkout is imported before the mutated tree. Standard
input: one order a line, as JSON; standard output: the exit code, or null when its time was over.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
from typing import Any

LIBRARIES = (
    "sqlalchemy.ext.asyncio", "sqlalchemy.dialects.postgresql.psycopg", "psycopg", "psycopg_pool",
    "sqlmodel", "pydantic_settings", "structlog", "orjson", "procrastinate", "eth_utils", "rlp",
    "aiohttp", "bip_utils", "cryptography.fernet", "pytest",
)  # fmt: skip
POLL_SECONDS = 0.02
LONGEST_STEP_SECONDS = 1.0  # more than this between two looks is a pause of ours, not the tests'


def child(order: dict[str, Any]) -> None:
    """One run of pytest in the order's tree; never returns."""
    os.setpgid(0, 0)
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["tree"])
    sys.path.insert(0, order["tree"])
    sys.dont_write_bytecode = not order["bytecode"]
    code = 3
    try:
        code = int(importlib.import_module("pytest").main(order["arguments"]))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(pid: int, seconds: float) -> int | None:
    """The exit code; None after killing what took too long. A machine that sleeps counts little."""
    left, seen = seconds, time.monotonic()
    while left > 0:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(POLL_SECONDS)
        now = time.monotonic()
        left -= min(now - seen, LONGEST_STEP_SECONDS)
        seen = now
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def main() -> None:
    """Serve orders until standard input ends."""
    del sys.path[0]  # this folder
    for name in LIBRARIES:
        importlib.import_module(name)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            child(order)
        print(json.dumps(wait(pid, order["seconds"])), flush=True)


if __name__ == "__main__":
    main()

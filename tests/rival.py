"""A worker as a process of its own, for `tests/rivals.py`: passes of its loops when it is told.

Composed and wired as in service, over the test's database and node; it signs at the test's signer.
Reads one JSON command a line: `{"do": "pass", "loops": […], "meet": point}` plays those loops once
each, and stops once at that crash point, says so and waits for a line; `{"do": "lead",
"loops": […]}` runs them from then on as a worker does. Answers one JSON line each.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from keys.remote import RemoteSigner
from keys.secret import Secret
from wallet import crashpoints, log
from wallet.bootstrap import build
from wallet.deposits import lineage
from wallet.jobs import JobRunner, Loop, run_loops
from wallet.onchain import runner as send_runner
from wallet.settings import Settings
from wallet.wiring import wire


def say(**what: Any) -> None:
    """One line to the parent."""
    print(json.dumps(what), flush=True)


class Passed:
    """Counts the crash points this process passes; waits once at one of them."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.meet: str | None = None

    def __call__(self, name: str) -> None:
        self.seen[name] += 1
        if name == self.meet:
            self.meet = None
            say(at=name)
            sys.stdin.readline()  # everything here stands still, as in a process that is stopped


@contextlib.asynccontextmanager
async def _always(*_: object) -> AsyncIterator[bool]:
    yield True


async def _heedless(*_: object, **__: object) -> bool:
    return True


def without(leases: list[str]) -> None:
    """Take away what keeps rivals apart before the rows do: `signer`, the advisory lock of an
    address; `place`, the scanner's comparison of where it stands."""
    if "signer" in leases:
        send_runner.leadership = _always  # type: ignore[assignment]
    if "place" in leases:
        lineage.advance = _heedless


def told_of(passed: Passed, loop: Loop) -> Loop:
    """The same loop, whose ticks are counted."""
    tick: Callable[[], Awaitable[Any]] = loop.tick

    async def counted() -> Any:
        passed.seen[f"tick.{loop.name}"] += 1
        return await tick()

    loop.tick = counted
    return loop


async def obey(order: dict[str, Any]) -> None:
    """Do what the parent says until it says no more."""
    without(order["without"])
    settings = Settings(
        mode="sandbox", database_url=order["database_url"], data_dir=Path(order["home"])
    )
    services = build(settings, role="worker")
    services.signer = RemoteSigner(order["socket"], Secret(bytes.fromhex(order["capability"])))
    passed = Passed()
    crashpoints.install(passed)
    loops = {loop.name: loop for loop in wire(services, JobRunner(services.db.dsn))}
    leading: list[asyncio.Task[None]] = []
    say(ready=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        chosen = [loops[name] for name in command.get("loops", ())]
        passed.meet = command.get("meet")
        if command["do"] == "lead":
            run = run_loops(services.db.dsn, [told_of(passed, loop) for loop in chosen])
            leading.append(asyncio.create_task(run))
        elif command["do"] == "pass":
            for loop in chosen:
                await loop.tick()
        say(done=dict(passed.seen))


if __name__ == "__main__":
    log.configure("INFO")  # to standard error; standard output carries the answers
    asyncio.run(obey(json.loads(sys.stdin.readline())))

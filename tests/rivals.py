"""Two workers by mistake, as two real processes with a barrier between them: the parent's side."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from chain.registry import dump_networks
from keys.derivation import fingerprint
from keys.public import PublicKeys, write_public
from keys.server import SignerServer
from keys.wire import new_capability
from wallet.processes import die_with_parent
from wallet.testing.pace import patience
from wallet.testing.seam import Seam

ROOT = Path(__file__).resolve().parents[1]
ANSWER_SECONDS = 20.0
WAITING = (
    "SELECT count(*) AS n FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


class Rival:
    """One of the processes. `seen`: crash points and ticks it has passed."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log
        self.seen: Counter[str] = Counter()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def told(self) -> dict[str, Any]:
        """Its next line: that it is `done`, or stands `at` the point it was to wait at."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(
            self._process.stdout.readline(), timeout=patience(ANSWER_SECONDS)
        )
        assert line, self._log.read_text("utf-8", "replace")[-3000:]
        answer: dict[str, Any] = json.loads(line)
        if "done" in answer:
            self.seen = Counter(answer["done"])
        return answer

    def tell(self, **what: Any) -> None:
        """A command, or (nothing) to go on from where it waits."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")

    async def play(self, *loops: str) -> None:
        """One pass of these loops."""
        self.tell(do="pass", loops=loops)
        await self.told()

    async def look(self) -> Counter[str]:
        """What it has passed until now."""
        self.tell(do="look")
        await self.told()
        return self.seen

    async def kill(self) -> None:
        """By SIGKILL: it ends nothing itself."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()


@asynccontextmanager
async def rivals(
    seam: Seam, home: Path, *, count: int = 2, without: Sequence[str] = ()
) -> AsyncIterator[list[Rival]]:
    """So many workers of this seam, ready. They share its signer, as they would in service.

    `without`: what does not keep them apart this time (`tests/rival.py`).
    """
    await asyncio.to_thread(home.mkdir)
    xpub = seam.desk.deposit_xpub
    dump_networks(home / "networks.toml", {seam.network.name: seam.network})
    write_public(
        home / "keys.json", PublicKeys(xpub, fingerprint(xpub), tuple(seam.desk.hot_addresses))
    )
    capability = new_capability()
    server = SignerServer(seam.desk, capability)
    await server.start(str(home / "s"))
    order = {
        "database_url": seam.db.url.render_as_string(hide_password=False),
        "home": str(home),
        "socket": str(home / "s"),
        "capability": capability.reveal().hex(),
        "without": list(without),
    }
    made = [await _start(order, home / f"rival{n}.log") for n in range(count)]
    try:
        for rival in made:
            await rival.told()
        yield made
    finally:
        for rival in made:
            await rival.kill()
        await server.aclose()


async def _start(order: dict[str, Any], log: Path) -> Rival:
    env = {key: value for key, value in os.environ.items() if not key.startswith("BIFOLD_")}
    with log.open("w") as stream:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(ROOT / "tests" / "rival.py"),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=stream,
            cwd=ROOT, env=env | {"PYTHONPATH": str(ROOT)},
            preexec_fn=die_with_parent(signal.SIGKILL),
        )  # fmt: skip
    rival = Rival(process, log)
    rival.tell(**order)
    return rival


async def together(pair: Sequence[Rival], *loops: str, meet: str) -> list[str | None]:
    """One pass of each at the same time. Where each waited before both went on: `meet`, or nowhere
    as the other one was there first (None)."""
    for rival in pair:
        rival.tell(do="pass", loops=loops, meet=meet)
    where = [(await rival.told()).get("at") for rival in pair]
    waiting = [rival for rival, at in zip(pair, where, strict=True) if at is not None]
    for rival in waiting:
        rival.tell()
    for rival in waiting:
        await rival.told()
    return where


async def behind(seam: Seam, pair: Sequence[Rival], *loops: str, at: str) -> bool:
    """One pass of the first, which stands at `at`, inside a transaction, while the second plays its
    own. Whether the second had to wait for a row of the first; else it has ended by itself."""
    first, second = pair
    first.tell(do="pass", loops=loops, meet=at)
    assert (await first.told()).get("at") == at
    second.tell(do="pass", loops=loops)
    answer = asyncio.create_task(second.told())
    waits = False
    while not (waits or answer.done()):
        waits = (await seam.rows(WAITING))[0].n > 0
        await asyncio.sleep(0.02)
    first.tell()
    await first.told()
    await answer
    return waits

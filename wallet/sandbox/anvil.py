"""The sandbox's own Anvil: started from the newest snapshot that it can read, snapshotted often."""

from __future__ import annotations

import asyncio
import logging
import platform
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from wallet.sandbox.children import Child, Launch, last_words, pause_after
from wallet.sandbox.config import LOOPBACK, SandboxError, free_port, port_is_free
from wallet.sandbox.node import LocalNode, NodeError
from wallet.sandbox.snapshots import Snapshot, SnapshotStore

CHAIN_ID = 31337
PREFERRED_PORT = 8545
START_TIMEOUT_SECONDS = 30.0
POLL_SECONDS = 0.05
# Past states kept for balances at a named block and for reorgs: a dump holds all of them, and
# with every state of a long chain it would take seconds (measured: 1,300 blocks, 116 MB, 8.6 s).
KEPT_STATES = 64
# Without the block-hash contract of later forks, whose growth doubles each state in a dump.
HARDFORK = "cancun"
DEV_BALANCE_ETH = 1_000_000

log = logging.getLogger(__name__)


def binary() -> Path:
    """Anvil's own executable for this machine, as npm placed it. Raises SandboxError."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    package = f"anvil-{platform.system().lower()}-{machine}"
    root = Path(__file__).resolve().parents[2]
    path = root / "node_modules" / "@foundry-rs" / package / "bin" / "anvil"
    if path.is_file():
        return path
    if found := shutil.which("anvil"):
        return Path(found)
    raise SandboxError("Anvil is not installed: run ./dev run, or set BIFOLD_LOCAL_RPC_URL.")


class Anvil:
    """The node as a child, its address, and its snapshots.

    The port stays the same over restarts, so that the address in networks.toml stays true.
    """

    def __init__(
        self, directory: Path, *, log_path: Path, environment: Mapping[str, str], port: int | None
    ) -> None:
        wanted = port or PREFERRED_PORT
        self.port = wanted if port_is_free(LOOPBACK[0], wanted) else free_port()
        self.node = LocalNode(f"http://{LOOPBACK[0]}:{self.port}")
        self.store = SnapshotStore(directory)
        self.loaded: Snapshot | None = None
        self.child = Child("chain", self._launch, log_path)
        self._environment = {"PATH": environment.get("PATH", ""), "HOME": str(directory)}
        self._stored: tuple[object, ...] | None = None

    async def start(self) -> None:
        """Start it and wait until it answers; a snapshot it cannot read gives way to an older one.

        Raises SandboxError when no snapshot can be read or the node does not start at all.
        """
        directory = self.store.directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.rmtree(directory / "cache", ignore_errors=True)
        (directory / "writing.tmp").unlink(missing_ok=True)
        found = self.store.newest_first()
        for snapshot in found:
            self.loaded = snapshot
            await self.child.start()
            if await self._answers():
                return
            log.warning("the node cannot read %s: %s", snapshot.path.name, self._last_words())
            self.store.set_aside(snapshot)
        if found:
            raise SandboxError("No snapshot of the local chain can be read; run ./dev clean.")
        self.loaded = None
        await self.child.start()
        if not await self._answers():
            raise SandboxError(f"Anvil does not start: {self._last_words()}")

    async def store_if_changed(self) -> Snapshot | None:
        """Store a snapshot when the head or the pool is another than at the last one."""
        now = await asyncio.to_thread(self._fingerprint)
        if now == self._stored:
            return None
        snapshot = await asyncio.to_thread(self.store.save, self.node)
        self._stored = now
        return snapshot

    def newest_height(self) -> int:
        """The height that survives the node's death."""
        stored = self.store.newest_first()
        return stored[0].height if stored else 0

    def newest_hash(self) -> str | None:
        """The block at that height, so that another fork's block is never taken for it."""
        return self.store.newest_hash()

    async def keep(self, on_restart: Callable[[], Awaitable[None]]) -> None:
        """Start it again whenever it ends; `on_restart` hears that it went back to a snapshot."""
        pause = 0.0
        while self.child.process is not None:
            code = await self.child.process.wait()
            if self.child.stopping:
                return
            self.child.restarts += 1
            self.child.state = f"ended with {code}: {self._last_words()}"
            log.warning("chain %s", self.child.state)
            pause = pause_after(time.monotonic() - self.child.started_at, pause)
            await asyncio.sleep(pause)
            await self.start()
            self._stored = None
            await on_restart()

    def _fingerprint(self) -> tuple[object, ...]:
        head, pool = self.node.calls(
            ("eth_getBlockByNumber", ("latest", False)), ("txpool_status", ())
        )
        return (
            head.get("hash") if isinstance(head, dict) else None,
            tuple(pool.items()) if isinstance(pool, dict) else None,
        )

    def _launch(self) -> Launch:
        # A restart by the supervisor takes the newest snapshot of that moment.
        found = self.store.newest_first()
        self.loaded = found[0] if found else None
        load = ("--load-state", str(self.loaded.path)) if self.loaded else ()
        return Launch(
            command=(
                *(str(binary()), "--quiet", "--host", LOOPBACK[0], "--port", str(self.port)),
                *("--chain-id", str(CHAIN_ID), "--hardfork", HARDFORK),
                *("--balance", str(DEV_BALANCE_ETH), "--prune-history", str(KEPT_STATES)),
                *("--cache-path", str(self.store.directory / "cache")),
                *load,
            ),
            environment=self._environment,
        )

    async def _answers(self) -> bool:
        deadline = asyncio.get_running_loop().time() + START_TIMEOUT_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            if not self.child.healthy:
                return False
            try:
                ours = await asyncio.to_thread(self.node.quantity, "eth_chainId") == CHAIN_ID
                if ours and self.loaded is not None:  # a mark: `DevNode.deepest`
                    await asyncio.to_thread(self.node.call, "evm_snapshot")
                return ours
            except NodeError:
                await asyncio.sleep(POLL_SECONDS)
        await self.child.kill()
        return False

    def _last_words(self) -> str:
        return last_words(self.child.log_path)

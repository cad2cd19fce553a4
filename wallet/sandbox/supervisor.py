"""The supervisor: starts the house in order, keeps every part running, ends it within ten seconds.

It holds no key and no money: secrets pass through to the children that need them, the capability
to the worker and the signer, the passphrase to the signer alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import secrets
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

from chain.registry import Network
from wallet.postgres import POSTGRES_MAJOR, EmbeddedPostgres, ensure_roles
from wallet.sandbox import loops, networks, schema
from wallet.sandbox.anvil import Anvil
from wallet.sandbox.board import Board
from wallet.sandbox.children import Child, Launch, last_words, run_tool
from wallet.sandbox.config import SandboxConfig, SandboxError, port_is_free
from wallet.sandbox.database import HouseDatabase
from wallet.sandbox.environment import (
    auditor_environment,
    base_environment,
    bifold,
    front_environment,
    write_environment_file,
)
from wallet.sandbox.node import NodeError
from wallet.sandbox.ready import ask_ready, wait_for_file
from wallet.sandbox.runtime import locked, refuse_second, remove_runtime_dir, runtime_dir

READY_POLL_SECONDS = 0.1
READY_TIMEOUT_SECONDS = 60.0
HOPELESS_RESTARTS = 4  # of one child before the first readiness
SIGNER_SOCKET_TIMEOUT_SECONDS = 20.0
AUDIT_MINUTES = "15"
STOP_FRONT_SECONDS = 3.5  # API and worker: finish the request or job at hand
STOP_BACK_SECONDS = 1.5  # signer, then chain
LAST_SNAPSHOT_SECONDS = 2.0
STOP_DATABASE_SECONDS = 1.5  # twice at most: fast, then hard

log = logging.getLogger(__name__)


class Supervisor:
    """One run of the sandbox."""

    def __init__(self, config: SandboxConfig, board: Board) -> None:
        self.config = config
        self.board = board
        self.began = time.monotonic()
        self.stop_requested = asyncio.Event()
        self.postgres: EmbeddedPostgres | None = None
        self.anvil: Anvil | None = None
        self.database: HouseDatabase | None = None
        self.children: list[Child] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.runtime = Path()
        self.app_url = self.owner_url = self.audit_url = self.operator_url = ""
        self.rpc_url = ""

    # --- the run ---

    async def run(self) -> int:
        """Start, stay, end. Returns the exit code; raises SandboxError when it cannot start."""
        config = self.config
        if not port_is_free(config.host, config.port):
            refuse_second(config.data_dir)  # our own sandbox may be what uses it
            raise SandboxError(
                f"Port {config.port} on {config.host} is in use; end what uses it, "
                "or choose another with BIFOLD_PORT."
            )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop_requested.set)
        with locked(config.data_dir, url=config.public_url):
            _log_to(config.log_dir / "supervisor.log")
            self.board.starting(_short(config.data_dir))
            try:
                await self._until_stop(self._start())
                if not self.stop_requested.is_set():
                    self._show_board()
                await self._until_stop(self._watch())
            finally:
                await self._end()
        self.board.ended()
        return 0

    async def _until_stop(self, work: Coroutine[None, None, None]) -> None:
        """Do `work`, or leave it when a signal comes. Its errors are raised."""
        doing, stop = asyncio.create_task(work), asyncio.create_task(self.stop_requested.wait())
        await asyncio.wait((doing, stop), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not doing.done():
            doing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await doing

    async def _watch(self) -> None:
        """Run the endless tasks; the first that fails ends the run with its error."""
        if self.tasks:
            done, _ = await asyncio.wait(self.tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()

    # --- starting ---

    async def _start(self) -> None:
        self.runtime = runtime_dir(self.config.data_dir)
        local = networks.read_local(self.config.networks_path)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._start_database())
            group.create_task(self._start_chain(_port_of(local.rpc_urls[0]) if local else None))
            if not self.config.keys_path.exists():
                group.create_task(self._tool("wallet.sandbox.house", on_terminal=_on_terminal()))
        if local is None:
            local = await self._prepare_chain()
        elif self.config.local_rpc_url is None:
            await asyncio.to_thread(self._check_pinned, local.block1_hash)
        networks.write(self.config, networks.at_address(local, self.rpc_url))
        write_environment_file(
            self.config,
            app_url=self.app_url,
            owner_url=self.owner_url,
            audit_url=self.audit_url,
            operator_url=self.operator_url,
        )
        await self._start_loops()
        await self._start_children()
        await self._wait_ready()

    async def _start_database(self) -> None:
        config = self.config
        if config.database_url is None:
            server = EmbeddedPostgres(
                config.data_dir / "postgres",
                self.runtime,
                log_file=config.log_dir / "postgres.log",
            )
            self.postgres = server
            await asyncio.to_thread(server.prepare)
            server.launch()  # on this thread, which lives as long as the supervisor
            await asyncio.to_thread(server.wait_ready)
            await asyncio.to_thread(ensure_roles, server.conninfo())
            self.owner_url = server.url("bifold_owner")
            self.app_url = server.url("bifold_app")
            self.audit_url = server.url("bifold_audit")
            self.operator_url = server.url("bifold_operator")
        else:
            self.app_url = config.database_url
            self.owner_url = config.migration_database_url or config.database_url
            audit = config.environment.get("BIFOLD_AUDIT_DATABASE_URL")
            self.audit_url = audit or config.database_url
            operator = config.environment.get("BIFOLD_OPERATOR_DATABASE_URL")
            self.operator_url = operator or config.database_url
        self.database = HouseDatabase(self.app_url)
        if not await asyncio.to_thread(schema.is_current, self.owner_url):
            await self._tool("wallet.sandbox.schema", BIFOLD_MIGRATION_DATABASE_URL=self.owner_url)
        await asyncio.to_thread(schema.let_the_clock_move, self.owner_url)
        await asyncio.to_thread(self.database.forget_processes)
        log.info("database is at the newest schema")

    async def _start_chain(self, port: int | None) -> None:
        config = self.config
        if config.local_rpc_url is not None:
            self.rpc_url = config.local_rpc_url
            return
        self.anvil = Anvil(
            config.data_dir / "anvil",
            log_path=config.log_dir / "chain.log",
            environment=config.environment,
            port=port,
        )
        await self.anvil.start()
        self.rpc_url = self.anvil.node.url
        log.info("chain answers at %s from %s", self.rpc_url, self.anvil.loaded)

    async def _prepare_chain(self) -> Network:
        """First start: tokens and funds; on our node stored before anything relies on them."""
        mine = ("--mine",) if self.anvil else ()
        output = await self._tool("wallet.sandbox.chain_setup", self.rpc_url, *mine)
        if self.anvil:
            await self.anvil.store_if_changed()
        return networks.first_network(
            networks.LocalChain.from_json(output),
            rpc_url=self.rpc_url,
            own_node=self.anvil is not None,
        )

    def _check_pinned(self, block1_hash: str | None) -> None:
        """Say it in one line when the node has another history than the books."""
        assert self.anvil is not None
        first = self.anvil.node.block("0x1") or {}
        if block1_hash is not None and first.get("hash") != block1_hash:
            self.board.trouble(
                "The local chain is not the one these books know (its snapshots are gone); "
                "sends and credits are halted. Run ./dev clean to begin anew."
            )

    async def _start_loops(self) -> None:
        assert self.database is not None
        if self.postgres is not None:
            self._keep("postgres", loops.keep_database(self.postgres))
        if self.anvil is not None:
            record = functools.partial(loops.record_height, self.anvil, self.database)
            await record()
            self._keep("chain", self.anvil.keep(record))
            self._keep("snapshots", loops.keep_snapshots(self.anvil, record))
            self._keep("miner", loops.keep_mining(self.anvil, self.database))
        self._keep("report", loops.keep_reporting(self.database, self._processes))

    async def _start_children(self) -> None:
        """The signer first: a worker without it would only wait."""
        capability = secrets.token_bytes(32)
        socket = self.runtime / "signer.sock"
        socket.unlink(missing_ok=True)
        front = front_environment(self.config, self.app_url)
        worker = front | {"BIFOLD_SIGNER_SOCKET": str(socket)}
        audited = self.audit_url != self.app_url  # else nobody here is told apart
        minutes = self.config.environment.get("BIFOLD_AUDIT_MINUTES") or AUDIT_MINUTES
        worker["BIFOLD_AUDIT_MINUTES"] = minutes if audited else "0"
        self._child("signer", lambda: self._signer_launch(socket, capability))
        await asyncio.to_thread(wait_for_file, socket, SIGNER_SOCKET_TIMEOUT_SECONDS)
        self._child("api", lambda: Launch(bifold("serve"), front))
        self._child(
            "worker",
            lambda: Launch(
                bifold("worker"),
                worker,
                secrets={"capability": capability},
                fd_environment={"BIFOLD_SIGNER_CAPABILITY_FD": "capability"},
            ),
        )
        if audited and minutes != "0":
            auditor = auditor_environment(self.config, self.audit_url)
            program = (sys.executable, "-m", "wallet.auditor", "--every", minutes)
            self._child("auditor", lambda: Launch(program, auditor))

    def _signer_launch(self, socket: Path, capability: bytes) -> Launch:
        config = self.config
        return Launch(
            command=(
                *bifold("signer", "--vault", str(config.vault_dir), "--socket", str(socket)),
                *("--policy", str(config.policy_path)),
                *("--passphrase-fd", "{passphrase}", "--capability-fd", "{capability}"),
                "--self-custody",
                "--inspectable",  # its memory figures may be read
            ),
            environment=base_environment(config),
            secrets={
                "passphrase": config.passphrase_path.read_bytes().strip(),
                "capability": capability,
            },
        )

    def _child(self, name: str, launch: Callable[[], Launch]) -> None:
        child = Child(name, launch, self.config.log_dir / f"{name}.log")
        self.children.append(child)
        self._keep(name, child.keep())

    def _keep(self, name: str, work: Coroutine[None, None, None]) -> None:
        self.tasks.append(asyncio.create_task(work, name=name))

    async def _wait_ready(self) -> None:
        """Until /readyz says so. Raises SandboxError with the reason when it does not come."""
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        answer = "no answer"
        while time.monotonic() < deadline:
            for child in self.children:
                if child.restarts >= HOPELESS_RESTARTS:
                    raise SandboxError(f"The {child.name} does not start: {child.state}")
            ready, answer = await asyncio.to_thread(ask_ready, self.config.host, self.config.port)
            if ready:
                log.info("ready after %.1f s", time.monotonic() - self.began)
                return
            await asyncio.sleep(READY_POLL_SECONDS)
        words = last_words(self.config.log_dir / "api.log")
        raise SandboxError(
            f"Not ready after {READY_TIMEOUT_SECONDS:.0f} s: {answer} {words}".strip()
        )

    def _processes(self) -> list[Child]:
        """Without whom the sandbox is not ready. Whether audits come is a case of the worker's."""
        needed = [child for child in self.children if child.name != "auditor"]
        return [*needed, *([self.anvil.child] if self.anvil else [])]

    # --- ending ---

    async def _end(self) -> None:
        """Front to back, each with its own limit; together below ten seconds."""
        self.config.environment_path.unlink(missing_ok=True)
        front = [child for child in self.children if child.name != "signer"]
        back = [child for child in self.children if child.name == "signer"]
        await asyncio.gather(*(child.stop(STOP_FRONT_SECONDS) for child in front))
        await asyncio.gather(*(child.stop(STOP_BACK_SECONDS) for child in back))
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if self.anvil is not None:
            try:
                async with asyncio.timeout(LAST_SNAPSHOT_SECONDS):
                    await self.anvil.store_if_changed()
            except (NodeError, OSError, TimeoutError) as error:
                log.warning("last snapshot: %s", error)
            await self.anvil.child.stop(STOP_BACK_SECONDS)
        if self.database is not None:
            self.database.close()
        if self.postgres is not None:
            await asyncio.to_thread(self.postgres.stop, STOP_DATABASE_SECONDS)
        if self.runtime != Path():
            remove_runtime_dir(self.runtime)

    # --- environments ---

    async def _tool(
        self, module: str, *arguments: str, on_terminal: bool = False, **more: str
    ) -> str:
        environment = base_environment(self.config) | more
        environment["BIFOLD_DATA_DIR"] = str(self.config.data_dir)
        return await run_tool(
            module,
            *arguments,
            environment=environment,
            log_path=self.config.log_dir / "setup.log",
            on_terminal=on_terminal,
        )

    def _show_board(self) -> None:
        config = self.config
        database = f"PostgreSQL {POSTGRES_MAJOR}, our own" if self.postgres else "yours"
        chain = "Anvil, our own" if self.anvil else "yours"
        self.board.ready(
            url=config.public_url,
            rows=(
                ("API", f"{config.public_url}/openapi.json"),
                ("Chain", f"local · {self.rpc_url} · {chain}"),
                ("Database", database),
                ("Runs", " · ".join(f"{child.name} {child.pid}" for child in self.children)),
                ("State", _short(config.data_dir)),
                ("Logs", _short(config.log_dir)),
            ),
            seconds=time.monotonic() - self.began,
        )


def _on_terminal() -> bool:
    return sys.stdout.isatty()


def _port_of(url: str) -> int | None:
    port = url.rpartition(":")[2].rstrip("/")
    return int(port) if port.isdigit() else None


def _short(path: Path) -> str:
    """A path as a person would write it from here."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def _log_to(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = logging.FileHandler(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])

"""A pytest plugin for the mutation campaign: the tests' cluster is the campaign's, already running.

Given by `-p`; where and from which template is in the environment. Only the server is shared: each
test still gets a database of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import wallet
from bench.campaigns.mutation_plugin_names import SOCKET, TEMPLATE, TREE
from wallet.postgres import EmbeddedPostgres
from wallet.testing import databases

if not str(wallet.__file__).startswith(os.environ[TREE]):
    raise SystemExit(f"the tests would run on {wallet.__file__}, which is not the mutated copy")


class RunningCluster(databases.ScratchCluster):
    """As ScratchCluster, on a server that somebody else began and ends."""

    def __init__(self, *, durable: bool, migrate: Callable[[str], None] | None) -> None:
        del durable, migrate
        folder = Path(os.environ[SOCKET])
        self.server = EmbeddedPostgres(folder / "nowhere", folder)
        self.server.socket_dir = folder
        self._made: set[str] = set()

    def create(self) -> databases.ScratchDatabase:
        name = f"mutant_{os.getpid()}_{len(self._made)}"
        self._made.add(name)
        template = os.environ[TEMPLATE]
        self._execute("CREATE DATABASE {} OWNER bifold_owner TEMPLATE {}", name, template)
        return databases.ScratchDatabase(name, self.server)

    def close(self) -> None:
        """The campaign's own end."""


databases.ScratchCluster = RunningCluster  # type: ignore[misc]

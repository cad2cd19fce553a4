"""Snapshots of the local chain that survive `kill -9` of anything at any moment.

Written to a temporary file, fsynced, renamed; the newest two are kept. A file's name holds its
number and the height it certainly contains: `state-00000012-345.json`.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

from wallet.sandbox.node import LocalNode, NodeError
from wallet.sandbox.runtime import sync_directory, write_private

KEPT = 2
_NAME = re.compile(r"state-(\d{8})-(\d+)\.json\Z")


@dataclass(frozen=True, order=True)
class Snapshot:
    """One stored state: its number, and the highest block that is certainly inside."""

    number: int
    height: int
    path: Path


class SnapshotStore:
    """The folder of snapshots of one local chain."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def newest_first(self) -> list[Snapshot]:
        """The stored snapshots, best first."""
        found = []
        for path in self.directory.glob("state-*.json"):
            if match := _NAME.match(path.name):
                found.append(Snapshot(int(match[1]), int(match[2]), path))
        return sorted(found, reverse=True)

    def save(self, node: LocalNode) -> Snapshot:
        """Store the node's state now. Raises NodeError and OSError, leaving the older ones."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        older = self.newest_first()
        before = node.quantity("eth_blockNumber")
        block_hash = _hash_at(node, before)
        temporary = self.directory / "writing.tmp"
        node.dump_state(temporary)
        # What is promised must be the same block before and after: a reorg meanwhile may have
        # left a fork in the file that the node no longer follows.
        height = before
        if block_hash is None or _hash_at(node, height) != block_hash:
            temporary.unlink(missing_ok=True)
            raise NodeError("the chain changed while it was stored")
        number = older[0].number + 1 if older else 1
        snapshot = Snapshot(number, height, self.directory / f"state-{number:08d}-{height}.json")
        temporary.rename(snapshot.path)
        sync_directory(self.directory)
        document = {
            "file": snapshot.path.name,
            "height": height,
            "hash": block_hash,
            "stored_at": int(time.time()),
        }
        write_private(self.directory / "snapshot.json", json.dumps(document))
        for old in older[KEPT - 1 :]:
            old.path.unlink(missing_ok=True)
        return snapshot

    def newest_hash(self) -> str | None:
        """Hash of the newest snapshot's block; None when it was not written down."""
        stored = self.newest_first()
        try:
            document = json.loads((self.directory / "snapshot.json").read_text("utf-8"))
        except (OSError, ValueError):
            return None
        if not stored or document.get("file") != stored[0].path.name:
            return None
        return str(document["hash"]) if document.get("hash") else None

    def set_aside(self, snapshot: Snapshot) -> None:
        """Keep a snapshot that the node cannot read for a person to look at, out of the way."""
        snapshot.path.rename(snapshot.path.with_suffix(".broken"))


def _hash_at(node: LocalNode, height: int) -> str | None:
    block = node.block(hex(height))
    return str(block["hash"]) if block else None

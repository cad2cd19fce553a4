"""Reads a compiled contract that was committed beside its source."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

ARTIFACTS = Path(__file__).parent / "artifacts"
_NAME = re.compile(r"[A-Z][A-Za-z0-9]{0,63}\Z")


class ArtifactMissing(Exception):
    """No artifact of this name is committed, or the file is not one."""

    code = "artifact_missing"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A compiled contract: `abi` as Solidity's JSON, `bytecode` to be deployed (unlinked)."""

    name: str
    abi: tuple[dict[str, object], ...]
    bytecode: bytes


@lru_cache(maxsize=32)
def artifact(name: str) -> Artifact:
    """The artifact called `name`, e.g. `TestToken`. Raises ArtifactMissing."""
    if not _NAME.match(name):
        raise ArtifactMissing("a contract's name is letters and digits")
    try:
        document = json.loads((ARTIFACTS / f"{name}.json").read_text("utf-8"))
        return Artifact(
            name=document["name"],
            abi=tuple(document["abi"]),
            bytecode=bytes.fromhex(document["bytecode"].removeprefix("0x")),
        )
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactMissing(f"{name}: {type(error).__name__}") from None

"""Committed artifacts are what their sources compile to, and the loader reads them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from contracts.loader import ARTIFACTS, ArtifactMissing, artifact

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in ARTIFACTS.glob("*.json"))
MAX_DEPLOYED_INPUT = 49_152  # EIP-3860: initcode of at most two times 24,576 bytes.


def require_compiler() -> str:
    """Path of node; skips by name without node or the npm packages (BIFOLD_REQUIRE_ALL fails)."""
    node = shutil.which("node")
    missing = None
    if node is None:
        missing = "node is not installed"
    elif not (ROOT / "node_modules" / "solc").is_dir():
        missing = "solc is not installed: run `npm install --ignore-scripts`"
    if missing is not None:
        if os.environ.get("BIFOLD_REQUIRE_ALL") == "1":
            pytest.fail(f"contracts: {missing}, and BIFOLD_REQUIRE_ALL=1")
        pytest.skip(f"contracts: {missing}")
    assert node is not None
    return node


def check(node: str, root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [node, "contracts/compile.mjs", "--check"],
        cwd=root, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_artifacts_are_what_the_sources_compile_to() -> None:
    done = check(require_compiler(), ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_comparison_notices_a_changed_source_and_a_stray_artifact(tmp_path: Path) -> None:
    node = require_compiler()
    shutil.copytree(ROOT / "contracts", tmp_path / "contracts")
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    source = tmp_path / "contracts" / "src" / "TestToken.sol"
    text = source.read_text()
    source.write_text(text.replace("return _decimals;", "return _decimals + 1;"))
    (tmp_path / "contracts" / "artifacts" / "Stray.json").write_text("{}")
    done = check(node, tmp_path)
    assert done.returncode == 1
    assert "TestToken.json: differs" in done.stderr and "Stray.json" in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_each_artifact_loads(name: str) -> None:
    loaded = artifact(name)
    assert loaded.name == name and 0 < len(loaded.bytecode) <= MAX_DEPLOYED_INPUT
    document = json.loads((ARTIFACTS / f"{name}.json").read_text())
    assert document["evmVersion"] == "paris"
    assert document["source"].startswith("contracts/src/") and (ROOT / document["source"]).is_file()


def test_no_artifact_and_no_path_outside() -> None:
    for name in ("Missing", "../package", "", "testtoken"):
        with pytest.raises(ArtifactMissing):
            artifact(name)


def test_the_lock_names_no_registry() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text())
    assert all("resolved" not in package for package in lock["packages"].values())
    assert all(
        package.get("integrity", "").startswith("sha512-")
        or package.get("inBundle")  # inside its parent's tarball, which has a hash
        for path, package in lock["packages"].items()
        if path
    )

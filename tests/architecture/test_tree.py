"""Rules about the tree as a whole: the floor plan, sizes, and what must never be committed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("api", "chain", "contracts", "keys", "wallet")
MODULE_LINES_LIMIT = 450
# Whole words of people and machines that no tracked file may hold.
MACHINE_PATHS = re.compile(
    r"(?<![\w.])/(?:home|Users)/(?!someone/)[a-z][\w.-]*/|(?<![\w.])/root/(?!\.)\w|/opt/(?:wheels|pypi)|\.pyenv"
)
LOCK_FILES = re.compile(r"(?:requirements.*|package-lock\.json|\.npmrc|.*\.lock)\Z")


def tracked() -> list[Path]:
    """Tracked files, or in a copy without git all files outside what set-up makes."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        return [
            ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()
        ]
    made = {".venv", "node_modules", ".cache", ".bifold", ".git"}
    files = (path for path in ROOT.rglob("*") if path.is_file())
    return [path for path in files if not made & set(path.relative_to(ROOT).parts)]


def text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        return ""


def sources(*packages: str) -> list[Path]:
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def test_the_floor_plan_holds(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    code = lint_imports(config_filename="pyproject.toml", no_cache=True, no_logo=True)
    assert code == 0, capfd.readouterr().out


def test_every_package_is_in_the_wheel() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert sorted(listed) == sorted(PACKAGES)
    assert sorted(project["tool"]["importlinter"]["root_packages"]) == sorted(PACKAGES)


def test_no_module_is_too_long() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in [*sources(*PACKAGES), *sources("tests", "bench")]
        if (count := len(path.read_text("utf-8").splitlines())) > MODULE_LINES_LIMIT
    }
    assert long == {}


def test_tests_are_no_packages() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_test_files_have_names_of_their_own() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_no_machine_path_is_tracked() -> None:
    found = {
        str(path.relative_to(ROOT)): match.group()
        for path in tracked()
        if path != Path(__file__).resolve() and (match := MACHINE_PATHS.search(text_of(path)))
    }
    assert found == {}


def test_no_registry_address_is_tracked() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in tracked()
        if LOCK_FILES.match(path.name)
        for line in text_of(path).splitlines()
        if re.search(
            r"https?://|index-url (?!-)|\"resolved\"", line.replace("--no-emit-index-url", "")
        )
        and not re.search(r"\"(?:url|funding)\":|^\s*#", line)
    ]
    assert found == []


def test_every_locked_package_has_hashes() -> None:
    for lock in ROOT.glob("requirements*.lock"):
        blocks = re.split(r"\n(?=[a-z0-9])", lock.read_text(), flags=re.IGNORECASE)
        pinned = [block for block in blocks if re.match(r"[a-z0-9._-]+(\[.*?\])?==", block, re.I)]
        assert pinned, lock.name
        assert [block.split()[0] for block in pinned if "--hash=sha256:" not in block] == []

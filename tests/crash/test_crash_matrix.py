"""Every crash point of the code stands in points.toml, with the test that dies there.

A new point without a line fails here, so does a line whose point or test is gone. That a flow
really passes the points it claims is asked by the flow's own test; `open` names the points where
nothing dies yet, and may only shrink.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
POINTS = tomllib.loads(Path(__file__).with_name("points.toml").read_text())
OPEN_MOST = 20


def in_the_code() -> dict[str, set[str]]:
    """Name → files, of every `hit("…")` in the product. A name that is not written out fails."""
    found: dict[str, set[str]] = {}
    for package in ("api", "chain", "keys", "wallet"):
        for file in sorted((ROOT / package).rglob("*.py")):
            source = file.read_text()
            if "crashpoints" not in source or file.name in ("crashpoints.py", "trace.py"):
                continue
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                    ("crashpoints.hit", "hit")
                ):
                    (name,) = node.args
                    assert isinstance(name, ast.Constant), f"{file}: {ast.unparse(node)}"
                    found.setdefault(str(name.value), set()).add(str(file.relative_to(ROOT)))
    return found


def test_the_search_finds_points() -> None:
    found = in_the_code()
    assert found["db.before_commit"] == {"wallet/db.py", "wallet/group_commit.py"}
    assert len(found) > 80


def test_every_point_has_its_line_and_every_line_its_point() -> None:
    listed = [point for points in POINTS["flows"].values() for point in points]
    listed += [point for points in POINTS["tests"].values() for point in points]
    listed += [point for points in POINTS["replays"].values() for point in points]
    listed += POINTS["open"]["points"]
    assert sorted(set(in_the_code()) - set(listed)) == [], "new crash points without a case"
    assert sorted(set(listed) - set(in_the_code())) == [], "lines whose crash point is gone"


def test_a_point_is_open_only_where_nothing_claims_it() -> None:
    claimed = {
        point
        for kind in ("flows", "tests", "replays")
        for points in POINTS[kind].values()
        for point in points
    }
    still_open = POINTS["open"]["points"]
    assert sorted(claimed & set(still_open)) == []
    assert len(still_open) == len(set(still_open)) <= OPEN_MOST, "this number may only shrink"


@pytest.mark.parametrize("place", sorted(POINTS["tests"]))
def test_a_named_test_is_there_and_dies(place: str) -> None:
    """It exists, and installs a callback itself or by the stage it plays on."""
    file, _, name = place.partition("::")
    source = (ROOT / file).read_text()
    names = {
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert name in names
    assert "crashpoints.install" in source or "crash" in source


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_loops_that_die_in_other_tests_lose_nothing(tmp_path: Path) -> None:
    """Tests of other rooms pass although their loops die, and they die at every point claimed."""
    claimed = dict(POINTS["replays"])
    died = tmp_path / "died"
    environment = {
        **os.environ,
        "BIFOLD_DIE_AT": ",".join(sorted({p for points in claimed.values() for p in points})),
        "BIFOLD_DIED": str(died),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}",
    }
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_CURRENT_TEST"):
        environment.pop(name, None)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "replay_plugin", "--timeout=300",
         "-p", "no:cacheprovider", *claimed],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=850,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-4000:]
    deaths = {(line.split()[1], line.split()[0]) for line in died.read_text().splitlines()}
    missed = [
        f"{place} did not die at {point}"
        for place, points in claimed.items()
        for point in points
        if (place, point) not in deaths
    ]
    assert missed == []

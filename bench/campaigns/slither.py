"""`./dev campaign slither`: static analysis of the deployed contracts; 0 high and 0 medium.

Nothing is installed: `slither` is taken from PATH or from `.cache/slither/bin` (a virtual
environment made there by hand), the compiler is the committed solc-js behind contracts/solc.mjs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "contracts" / "src"
LOCAL = ROOT / ".cache" / "slither" / "bin" / "slither"
FATAL = ("High", "Medium")
SECONDS = 300


class Failed(Exception):
    """The analyser did not analyse."""


def find() -> str | None:
    """Path of slither, or None."""
    found = shutil.which("slither")
    return found or (str(LOCAL) if os.access(LOCAL, os.X_OK) else None)


def targets() -> list[Path]:
    """Every source that is deployed somewhere; `testing/` lies on purpose and is left out."""
    return sorted(SOURCES.glob("*.sol"))


def analyse(slither: str, source: Path) -> list[dict[str, Any]]:
    """Findings in one file, those in libraries left out. Raises Failed."""
    done = subprocess.run(
        [slither, str(source.relative_to(ROOT)), "--solc", "contracts/solc.mjs",
         "--compile-force-framework", "solc", "--exclude-dependencies",
         "--filter-paths", "node_modules", "--json", "-"],
        cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    try:
        report = json.loads(done.stdout)
    except ValueError:
        raise Failed(f"{source.name}: {done.stderr.strip()[-2000:]}") from None
    if report.get("success") is not True:
        raise Failed(f"{source.name}: {report.get('error')}")
    return list(report.get("results", {}).get("detectors", []))


def summary(findings: Sequence[dict[str, Any]]) -> tuple[list[str], bool]:
    """One line a finding, worst first, then the counts; and whether none is high or medium."""
    order = ("High", "Medium", "Low", "Informational", "Optimization")
    known = sorted(findings, key=lambda one: (order.index(one["impact"]), one["check"]))
    lines = [
        f"{one['impact']:<13} {one['check']}: {one['description'].splitlines()[0]}" for one in known
    ]
    counts = Counter(str(one["impact"]) for one in known)
    lines.append(", ".join(f"{counts[name]} {name.lower()}" for name in order))
    return lines, not any(counts[name] for name in FATAL)


def main(arguments: list[str]) -> int:
    """Run it; 1 with findings that count, 2 without slither."""
    argparse.ArgumentParser(prog="./dev campaign slither", description=__doc__).parse_args(
        arguments
    )
    slither = find()
    if slither is None:
        print(
            "slither is missing: it is neither on PATH nor in .cache/slither/bin. To have it:\n"
            "  python3 -m venv .cache/slither && .cache/slither/bin/pip install slither-analyzer"
        )
        return 2
    findings: list[dict[str, Any]] = []
    for source in targets():
        try:
            findings += analyse(slither, source)
        except Failed as failed:
            print(failed)
            return 1
    lines, clean = summary(findings)
    print("\n".join(lines))
    return 0 if clean else 1

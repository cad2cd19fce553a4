"""`./dev campaign crash`: dies at each commit and each call outside, and starts again.

Every flow dies at every crash point that it passes, and its next life ends it; then again, with a
next life that dies, too, while it recovers. With them run the tests of all rooms that are marked
`crash`. Figures: points, deaths, deaths while recovering, and what was wrong (0). A flow's points
are shared out among tests (`--parts`), and these among processes, each with a house, a node and a
database of its own: a life mostly waits.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
COLUMNS = ("points", "died", "again", "died again")
LEAST_DEATHS = 0.7
"""Share of the lives of a flow that were to die and must have, or the run is no proof."""


def main(arguments: list[str]) -> int:
    """Run it; 1 where anything was wrong."""
    parser = argparse.ArgumentParser(
        prog="./dev campaign crash",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default="", help="tests whose name holds this (pytest's -k)")
    parser.add_argument("--workers", type=int, default=4, help="processes side by side")
    parser.add_argument("--parts", type=int, default=8, help="into how many a flow is divided")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bifold-crash-") as folder:
        told = Path(folder) / "told"
        told.touch()
        command = [
            *(sys.executable, "-m", "pytest", "-m", "crash", "--timeout=7200", "-p", "no:randomly"),
            *("-q", "-n", str(options.workers), "--dist", "load"),
            *(("-k", options.only) if options.only else ()),
        ]
        environment = {
            **os.environ,
            "BIFOLD_CAMPAIGN": "1",
            "BIFOLD_CRASH_PARTS": str(options.parts),
            "BIFOLD_CRASH_SEED": str(options.seed),
            "BIFOLD_CRASH_TOLD": str(told),
        }
        with subprocess.Popen(command, cwd=ROOT, env=environment) as tests:
            try:
                code = _watched(tests, told)
            except KeyboardInterrupt:  # they hear it, too; what was seen until then is told
                code = tests.wait() or 2
        lines = told.read_text().splitlines()
    flows = summed(lines)
    _tell(flows)
    idle = unproven(flows)
    for line in idle:
        print(f"WRONG {line}")
    print(f"{time.monotonic() - began:.0f} s; {'see above' if code or idle else '0 wrong'}")
    return code or int(bool(idle))


def _watched(tests: subprocess.Popen[bytes], told: Path) -> int:
    """Its exit code; what is wrong is said as soon as it is known."""
    with told.open() as file:
        while True:
            code = tests.poll()
            for line in file:
                if wrong := json.loads(line)["wrong"]:
                    print(f"\nWRONG {json.loads(line)['flow']}: {wrong}", flush=True)
            if code is not None:
                return code
            time.sleep(1)


def summed(lines: list[str]) -> Mapping[str, Counter[str]]:
    """What the parts of each flow told, added up by flow."""
    flows: dict[str, Counter[str]] = {}
    for line in lines:
        part = json.loads(line)
        flows.setdefault(part["flow"], Counter()).update(part["counts"])
    return flows


def unproven(flows: Mapping[str, Counter[str]]) -> list[str]:
    """Flows whose lives met too few of the deaths they were to die: such a run proves nothing.

    Judged over all parts: a small one may have nothing but points that a loop came by too seldom
    to reach."""
    return [
        f"{flow}: {counts[died]} deaths of {counts[meant]} ({meant})"
        for flow, counts in sorted(flows.items())
        for meant, died in (("points", "died"), ("again", "died again"))
        if counts[died] < counts[meant] * LEAST_DEATHS
    ]


def _tell(flows: Mapping[str, Counter[str]]) -> None:
    print(f"\n{'flow':<20}" + "".join(f"{name:>12}" for name in COLUMNS))
    for flow, counts in sorted(flows.items()):
        print(f"{flow:<20}" + "".join(f"{counts[name]:>12}" for name in COLUMNS))
    print(
        "points: lives that were to die, one for each; died: that did; again: of those that were"
        " to die while they recover; died again: that did. A loop may come by too seldom."
    )

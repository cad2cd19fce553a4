"""`./dev campaign mutation`: faults put into the books' code, and whether the ledger tests notice.

Python: a seeded sample of small faults in `wallet/ledger` and `wallet/money.py`. SQL: forty written
patches of the posting functions. Each is put into a copy of the tree, never the checkout, and the
ledger tests run on it until the first failure. First they run once on the copy as it is: a campaign
whose tests fail by themselves would catch everything.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from bench.campaigns import mutation_plugin_names as names
from bench.campaigns.mutation_python import Mutant, mutants
from bench.campaigns.mutation_sql import PATCHES, Patch, patched
from wallet.migrate import upgrade
from wallet.testing.databases import TEMPLATE, ScratchCluster, ScratchDatabase

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("api", "bench", "chain", "contracts", "keys", "tests", "wallet")
TIMEOUT_SECONDS = 1_800.0  # of a stage on the copy as it is
TIMES_SLOWER = 3.0
LEAST_TIMEOUT_SECONDS = 60.0
CAUGHT = (1, 2)  # a failed test, or a module that cannot even be imported
MONEY = ("tests/kernel/test_money.py",)
QUICK = (
    "tests/ledger/test_ledger_commands.py", "tests/ledger/test_ledger_past.py",
    "tests/ledger/test_ledger_reads.py", "tests/ledger/test_database_refusals.py",
    "tests/ledger/test_group_commit.py",
)  # fmt: skip
SLOW = (
    "tests/ledger/test_ledger_batches.py", "tests/ledger/test_ledger_model.py",
    "tests/ledger/test_ledger_rivals.py",
)  # fmt: skip
# Stages: the next one runs only where the one before noticed nothing.
# One test that runs for a minute and repeats in the large what the others ask in the small.
LEFT_OUT = "tests/ledger/test_ledger_rivals.py::test_the_books_are_whole_after_a_long_random_run"


@dataclass
class Result:
    """How many of a kind were caught, and the names of those that were not."""

    tried: int = 0
    caught: int = 0
    timeouts: int = 0
    survivors: list[str] = field(default_factory=list)

    def told(self, kind: str) -> str:
        share = 100 * self.caught / self.tried if self.tried else 0.0
        return (
            f"{kind}: {self.caught} of {self.tried} caught ({share:.1f} %,"
            f" {self.timeouts} of them by the time limit)"
        )


class Bench:
    """The copy, the running database, and one run of the tests after the other."""

    def __init__(self, tree: Path, cluster: ScratchCluster, *, quick: bool) -> None:
        self.tree, self.cluster = tree, cluster
        self.books = (QUICK,) if quick else (QUICK, SLOW)
        for name in COPIED:
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "dev"):
            shutil.copy(ROOT / name, tree / name)
        self.output = tree / "output.txt"
        self._limits: dict[tuple[str, ...], float] = {}

    def as_it_is(self) -> None:
        """Every stage passes without a fault, and how long that takes. Raises SystemExit."""
        for stage in (MONEY, *self.books):
            began = time.monotonic()
            code = self._stage(stage, TEMPLATE, TIMEOUT_SECONDS)
            if code != 0:
                print(self.output.read_text()[-3000:])
                raise SystemExit(f"the tests do not pass on the copy as it is ({code})")
            took = time.monotonic() - began
            self._limits[stage] = max(LEAST_TIMEOUT_SECONDS, TIMES_SLOWER * took)
            print(f"passes without a fault in {took:.1f} s: {' '.join(stage)}", flush=True)

    def tests(self, stages: tuple[tuple[str, ...], ...], template: str = TEMPLATE) -> int | None:
        """Exit code of the first stage that notices, else 0; None when its time was over."""
        for stage in stages:
            code = self._stage(stage, template, self._limits[stage])
            if code != 0:
                return code
        return 0

    def _stage(self, paths: tuple[str, ...], template: str, seconds: float) -> int | None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("BIFOLD_")}
        environment |= {
            "PYTHONPATH": str(self.tree),
            "PYTHONDONTWRITEBYTECODE": "1",
            names.TREE: str(self.tree),
            names.SOCKET: str(self.cluster.server.socket_dir),
            names.TEMPLATE: template,
        }
        command = [
            *(sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:randomly"),
            *("-p", "no:cacheprovider", "-p", "bench.campaigns.mutation_plugin"),
            *(
                "-m",
                "not durable",
                "--hypothesis-seed=1",
                "--timeout=0",
                "--deselect",
                LEFT_OUT,
                *paths,
            ),
        ]
        with self.output.open("w") as output:
            try:
                return subprocess.run(
                    command, cwd=self.tree, env=environment, stdout=output,
                    stderr=subprocess.STDOUT, timeout=seconds,
                ).returncode  # fmt: skip
            except subprocess.TimeoutExpired:
                return None
            finally:
                self._drop_left()

    def _drop_left(self) -> None:
        for (name,) in self.cluster_rows("SELECT datname FROM pg_database"):
            if name.startswith("mutant_"):
                self.cluster.drop(ScratchDatabase(name, self.cluster.server))

    def cluster_rows(self, query: str) -> list[tuple[str]]:
        """Asked of the server as its superuser."""
        with psycopg.connect(self.cluster.server.conninfo(), autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()

    def verdict(self, code: int | None, name: str, result: Result) -> bool:
        """Count one; whether it was caught. Raises RuntimeError where the harness is at fault."""
        if code not in (None, 0, *CAUGHT):
            raise RuntimeError(f"pytest ended with {code}:\n{self.output.read_text()[-2000:]}")
        result.tried += 1
        result.timeouts += code is None
        if code == 0:
            result.survivors.append(name)
            return False
        result.caught += 1
        return True


def python_faults(bench: Bench, chosen: list[Mutant], until: float) -> Result:
    """Each in turn; the copy is as before after each."""
    result = Result()
    for mutant in chosen:
        if time.monotonic() > until:
            break
        place = bench.tree / mutant.file
        original = place.read_text()
        place.write_text(mutant.of(original))
        try:
            money = mutant.file == "wallet/money.py"
            began = time.monotonic()
            code = bench.tests((MONEY, *bench.books) if money else bench.books)
        finally:
            place.write_text(original)
        caught = bench.verdict(code, mutant.name, result)
        _say(caught, mutant.name, time.monotonic() - began)
    return result


def sql_faults(bench: Bench, chosen: list[Patch], until: float) -> Result:
    """Each on a template of its own."""
    result = Result()
    for number, patch in enumerate(chosen):
        if time.monotonic() > until:
            break
        template = f"patched_{number}"
        bench.cluster._execute(  # the cluster's own way to speak to its server
            "CREATE DATABASE {} OWNER bifold_owner TEMPLATE {}", template, TEMPLATE
        )
        database = ScratchDatabase(template, bench.cluster.server)
        try:
            patched(database.conninfo("bifold_owner"), patch)
            began = time.monotonic()
            code = bench.tests(bench.books, template)
        finally:
            bench.cluster.drop(database)
        caught = bench.verdict(code, f"{patch.function}: {patch.name}", result)
        _say(caught, patch.name, time.monotonic() - began)
    return result


def _say(caught: bool, name: str, seconds: float) -> None:
    print(f"{'caught  ' if caught else 'SURVIVED'} {seconds:5.1f} s  {name}", flush=True)


def all_mutants() -> list[Mutant]:
    """Every fault of the books' Python, in the order of file and line."""
    files = sorted((ROOT / "wallet" / "ledger").glob("*.py"))
    files.append(ROOT / "wallet" / "money.py")
    return [
        mutant
        for file in files
        for mutant in mutants(str(file.relative_to(ROOT)), file.read_text())
    ]


def main(arguments: list[str]) -> int:
    """Run it; 1 where fewer than `--least` per cent of either kind were caught."""
    parser = argparse.ArgumentParser(prog="./dev campaign mutation", description=__doc__)
    parser.add_argument("--python", type=int, default=150, help="faults in Python, by seed")
    parser.add_argument("--sql", type=int, default=len(PATCHES), help="patches of the SQL")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="faults whose name holds this, all of them")
    parser.add_argument(
        "--quick", action="store_true", help="without the slow tests: a lower bound"
    )
    parser.add_argument("--minutes", type=float, default=240.0, help="then tell what was done")
    parser.add_argument("--least", type=float, default=85.0, help="per cent caught")
    options = parser.parse_args(arguments)
    known = all_mutants()
    chance = random.Random(options.seed)
    python = chance.sample(known, min(options.python, len(known)))
    patches = chance.sample(PATCHES, min(options.sql, len(PATCHES)))
    if options.only:
        python = [one for one in known if options.only in one.name]
        patches = [one for one in PATCHES if options.only in f"{one.function}: {one.name}"]
    began = time.monotonic()
    until = began + options.minutes * 60
    cluster = ScratchCluster(durable=False, migrate=upgrade)
    try:
        with tempfile.TemporaryDirectory(prefix="bifold-mutation-") as folder:
            bench = Bench(Path(folder), cluster, quick=options.quick)
            bench.as_it_is()
            # Where time is short, each kind gets half of what is left.
            half = time.monotonic() + (until - time.monotonic()) / 2
            by_sql = sql_faults(bench, patches, half if python else until)
            by_python = python_faults(bench, python, until)
    finally:
        cluster.close()
    for name in (*by_sql.survivors, *by_python.survivors):
        print(f"survived: {name}")
    print(by_sql.told("posting SQL"))
    print(by_python.told(f"Python ({len(known)} faults known, seed {options.seed})"))
    print(f"{time.monotonic() - began:.0f} s")
    weak = [one for one in (by_sql, by_python) if one.caught * 100 < options.least * one.tried]
    return int(bool(weak))

"""`./dev campaign mutation`: faults put into the books' code, and whether the ledger tests notice.

Python: a seeded sample of small faults in `wallet/ledger` and `wallet/money.py`. SQL: forty written
patches of the posting functions. Each is put into a copy of the tree, never the checkout, and the
ledger tests run on it until the first failure. First they run once on the copy as it is: a campaign
whose tests fail by themselves would catch everything. That run also tells which functions each test
enters, in Python and in SQL: a fault is judged by those tests alone, the fastest first, in a fork
of a process that has the libraries, on a PostgreSQL that runs all the while.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bench.campaigns import mutation_plugin_names as names
from bench.campaigns.mutation_python import Mutant, mutants
from bench.campaigns.mutation_sql import PATCHES, Patch, patched
from wallet.migrate import upgrade
from wallet.testing.databases import TEMPLATE, ScratchCluster, ScratchDatabase

ROOT = Path(__file__).resolve().parents[2]
ZYGOTE = Path(__file__).with_name("mutation_zygote.py")
COPIED = ("api", "bench", "chain", "contracts", "keys", "tests", "wallet")
TIMEOUT_SECONDS = 1_800.0  # of all tests on the copy as it is
TIMES_SLOWER = 3.0
LEAST_TIMEOUT_SECONDS = 60.0
FAILED = re.compile(r"^FAILED (\S+)", re.MULTILINE)
CAUGHT = (1, 2)  # a failed test, or a module that cannot even be imported
# What pytest says of a test that is there on the tree as it is: its module no longer imports, or
# what it is called with comes out otherwise.
NOT_FOUND = re.compile(r"found no collectors for|^ERROR: not found: ", re.M)
KERNEL = ("tests/kernel/test_money.py", "tests/kernel/test_schema.py")
QUICK = (
    "tests/ledger/test_ledger_commands.py", "tests/ledger/test_ledger_past.py",
    "tests/ledger/test_ledger_reads.py", "tests/ledger/test_database_refusals.py",
    "tests/ledger/test_group_commit.py", "tests/ledger/test_ledger_batches.py",
    "tests/ledger/test_ledger_accounts.py", "tests/ledger/test_ledger_place.py",
    "tests/ledger/test_ledger_together.py",
)  # fmt: skip
SLOW = (
    "tests/ledger/test_ledger_model.py", "tests/ledger/test_ledger_rivals.py",
)  # fmt: skip
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


class Zygote:
    """A process that forks one run of pytest after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(ZYGOTE)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, **order: object) -> int | None:
        """The exit code; None when its time was over."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(order), file=self._process.stdin, flush=True)
        code: int | None = json.loads(self._process.stdout.readline())
        return code

    def close(self) -> None:
        """End it."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait(10)


class Tree:
    """A copy of the checkout, and runs of tests on it."""

    def __init__(self, folder: Path, cluster: ScratchCluster) -> None:
        self.folder, self.cluster = folder, cluster
        self.output = folder.with_suffix(".txt")
        self._zygote = Zygote()

    def copy_checkout(self) -> None:
        """From the checkout, without its bytecode."""
        for name in COPIED:
            shutil.copytree(
                ROOT / name, self.folder / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        for name in ("pyproject.toml", "dev"):
            shutil.copy2(ROOT / name, self.folder / name)

    def run(
        self, tests: Sequence[str], *, template: str, seconds: float, record: Path | None = None
    ) -> int | None:
        """pytest until the first failure: its exit code, None when its time was over."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("BIFOLD_")}
        environment |= {
            "PYTHONPATH": str(self.folder),
            names.TREE: str(self.folder),
            names.SOCKET: str(self.cluster.server.socket_dir),
            names.TEMPLATE: template,
        }
        if record is not None:
            environment[names.MAP] = str(record)
        arguments = [
            *("-x", "-q", "--no-header", "-p", "no:randomly", "-p", "no:cacheprovider"),
            *("-p", "bench.campaigns.mutation_plugin", "-m", "not durable"),
            *("--hypothesis-seed=1", "--timeout=0", "--deselect", LEFT_OUT, *tests),
        ]
        return self._zygote.run(
            tree=str(self.folder), environment=environment, arguments=arguments,
            output=str(self.output), seconds=seconds, bytecode=record is not None,
        )  # fmt: skip

    @contextlib.contextmanager
    def faulty(self, mutant: Mutant) -> Iterator[None]:
        """The fault is in the file; afterwards the file is as before, its bytecode valid."""
        place = self.folder / mutant.file
        original, before = place.read_text(), place.stat()
        place.write_text(mutant.of(original))
        os.utime(place, (before.st_atime, before.st_mtime + 60))  # never taken for the other
        try:
            yield
        finally:
            place.write_text(original)
            os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))

    def close(self) -> None:
        """End its process."""
        self._zygote.close()


@dataclass(frozen=True)
class Known:
    """What a test enters on the tree as it is."""

    test: str
    seconds: float
    entered: frozenset[tuple[str, int]]
    called: frozenset[str]


class Bench:
    """Trees that work side by side on one list of faults."""

    def __init__(self, folder: Path, cluster: ScratchCluster, *, quick: bool, jobs: int) -> None:
        self.cluster = cluster
        self.trees = [Tree(folder / f"tree{number}", cluster) for number in range(jobs)]
        self.paths = (*KERNEL, *QUICK, *(() if quick else SLOW))
        self.known: list[Known] = []
        self.results = {"sql": Result(), "python": Result()}
        self._noticed: Counter[str] = Counter()
        self._lock = threading.Lock()

    def as_it_is(self) -> None:
        """All tests pass without a fault, and what each of them enters. Raises SystemExit."""
        first = self.trees[0]
        first.copy_checkout()
        record = first.folder / "entered.jsonl"
        began = time.monotonic()
        code = first.run(self.paths, template=TEMPLATE, seconds=TIMEOUT_SECONDS, record=record)
        if code != 0:
            print(first.output.read_text()[-3000:])
            raise SystemExit(f"the tests do not pass on the copy as it is ({code})")
        told = [json.loads(line) for line in record.read_text().splitlines()]
        by_file: dict[str, set[str]] = {}
        for one in told:
            by_file.setdefault(one["test"].partition("::")[0], set()).update(one["called"])
        self.known = [
            Known(
                one["test"], one["seconds"],
                frozenset((file, line) for file, line in one["entered"]),
                # A database of a whole file tells its calls at the end, with the last test.
                frozenset(one["called"] or by_file[one["test"].partition("::")[0]]),
            )
            for one in sorted(told, key=lambda one: one["seconds"])
        ]  # fmt: skip
        took = time.monotonic() - began
        print(f"{len(self.known)} tests pass without a fault in {took:.1f} s", flush=True)
        for other in self.trees[1:]:
            shutil.copytree(first.folder, other.folder)

    def judge(self, faults: Sequence[Mutant | Patch], until: float) -> None:
        """Each by one of the trees, in turn."""
        waiting = iter(faults)

        def work(tree: Tree) -> None:
            while time.monotonic() < until:
                with self._lock:
                    fault = next(waiting, None)
                if fault is None:
                    return
                began = time.monotonic()
                if isinstance(fault, Mutant):
                    code, tests = self._python(tree, fault)
                else:
                    code, tests = self._sql(tree, fault)
                self._count(tree, fault, code, tests, time.monotonic() - began)

        with ThreadPoolExecutor(len(self.trees)) as pool:
            for done in [pool.submit(work, tree) for tree in self.trees]:
                done.result()

    def _python(self, tree: Tree, mutant: Mutant) -> tuple[int | None, int]:
        lines = mutant.functions((tree.folder / mutant.file).read_text())
        # What no test enters may still be entered by an import: all are asked.
        tests = [
            one for one in self.known if any((mutant.file, line) in one.entered for line in lines)
        ] or self.known
        with tree.faulty(mutant):
            return self._run(tree, tests, TEMPLATE), len(tests)

    def _sql(self, tree: Tree, patch: Patch) -> tuple[int | None, int]:
        tests = [one for one in self.known if patch.function in one.called] or self.known
        template = f"patched_{PATCHES.index(patch)}"
        self.cluster._execute(  # the cluster's own way to speak to its server
            "CREATE DATABASE {} OWNER bifold_owner TEMPLATE {}", template, TEMPLATE
        )
        database = ScratchDatabase(template, self.cluster.server)
        try:
            patched(database.conninfo("bifold_owner"), patch)
            return self._run(tree, tests, template), len(tests)
        finally:
            self.cluster.drop(database)

    def _run(self, tree: Tree, tests: list[Known], template: str) -> int | None:
        """What noticed most faults so far comes first, then what is fastest."""
        tests = sorted(tests, key=lambda one: (-self._noticed[one.test], one.seconds))
        limit = LEAST_TIMEOUT_SECONDS + TIMES_SLOWER * sum(one.seconds for one in tests)
        return tree.run([one.test for one in tests], template=template, seconds=limit)

    def _count(
        self, tree: Tree, fault: Mutant | Patch, code: int | None, tests: int, seconds: float
    ) -> None:
        """Raises RuntimeError where the harness is at fault."""
        output = tree.output.read_text() if tests else ""
        if code not in (None, 0, *CAUGHT) and not NOT_FOUND.search(output):
            raise RuntimeError(f"{fault.name}: pytest ended with {code}:\n{output[-2000:]}")
        kind = "python" if isinstance(fault, Mutant) else "sql"
        name = fault.name if isinstance(fault, Mutant) else f"{fault.function}: {fault.name}"
        with self._lock:
            result = self.results[kind]
            result.tried += 1
            result.timeouts += code is None
            result.caught += code != 0
            if code == 1:
                self._noticed.update(FAILED.findall(output))
            if code == 0:
                result.survivors.append(name)
            word = "caught  " if code != 0 else "SURVIVED"
            print(f"{word} {seconds:5.1f} s of {tests:3} tests  {name}", flush=True)

    def close(self) -> None:
        """End the trees' processes."""
        for tree in self.trees:
            tree.close()


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
    parser.add_argument(
        "--only", action="append", default=[],
        help="faults whose name holds this, all of them; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true", help="without the slow tests: a lower bound"
    )
    parser.add_argument("--jobs", type=int, default=2, help="faults judged side by side")
    parser.add_argument("--minutes", type=float, default=240.0, help="then tell what was done")
    parser.add_argument("--least", type=float, default=85.0, help="per cent caught")
    options = parser.parse_args(arguments)
    known = all_mutants()
    chance = random.Random(options.seed)
    python = chance.sample(known, min(options.python, len(known)))
    patches = chance.sample(PATCHES, min(options.sql, len(PATCHES)))
    if options.only:
        python = [one for one in known if any(part in one.name for part in options.only)]
        patches = [
            one
            for one in PATCHES
            if any(part in f"{one.function}: {one.name}" for part in options.only)
        ]
    began = time.monotonic()
    until = began + options.minutes * 60
    # Where time is short, as large a part of either kind is tried.
    faults: list[Mutant | Patch] = sorted(
        [*python, *patches],
        key=lambda one: python.index(one) / len(python) if isinstance(one, Mutant)
        else patches.index(one) / len(patches),
    )  # fmt: skip
    cluster = ScratchCluster(durable=False, migrate=upgrade, settings={"track_functions": "all"})
    try:
        with tempfile.TemporaryDirectory(prefix="bifold-mutation-") as folder:
            bench = Bench(Path(folder), cluster, quick=options.quick, jobs=options.jobs)
            try:
                bench.as_it_is()
                bench.judge(faults, until)
            finally:
                bench.close()
    finally:
        cluster.close()
    by_sql, by_python = bench.results["sql"], bench.results["python"]
    for name in (*by_sql.survivors, *by_python.survivors):
        print(f"survived: {name}")
    print(by_sql.told("posting SQL"))
    print(by_python.told(f"Python ({len(known)} faults known, seed {options.seed})"))
    print(f"{time.monotonic() - began:.0f} s")
    weak = [one for one in (by_sql, by_python) if one.caught * 100 < options.least * one.tried]
    return int(bool(weak))

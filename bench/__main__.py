"""`./dev bench [NAME] [--json]`: figures as ratios taken inside one run."""

from __future__ import annotations

import argparse
import ast
import asyncio
import importlib
import json
import sys
from pathlib import Path
from typing import Any

BENCHES: dict[str, str] = {
    "broadcast": "bench.broadcast",
    "database": "bench.database",
    "gas": "bench.gas",
    "ledger": "bench.ledger",
    "parts": "bench.parts",
    "reads": "bench.reads",
    "scan": "bench.scan",
    "scan-memory": "bench.scan_memory",
    "seal": "bench.seal",
    "signer": "bench.signer",
    "transfers": "bench.transfers",
}
"""Name → module with `measure(rounds=, seconds=) -> figures`; loaded when it is its turn."""


def _words(name: str) -> str:
    """The first line that a part says of itself, read and not imported: help stays fast."""
    file = Path(__file__).with_name(f"{BENCHES[name].rpartition('.')[2]}.py")
    return (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").split("\n", 1)[0]


def _measure(name: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """One part's figures."""
    bench = importlib.import_module(BENCHES[name])
    shape = {"rounds": chosen.rounds, "seconds": chosen.seconds}
    if name == "database":
        return _in_database(bench, **shape)
    if name == "ledger":
        shape["contenders"] = bench.Contenders(chosen.pgledger, chosen.lnbits)
        shape["postings"] = chosen.postings
    figures: dict[str, Any] = bench.measure(**shape)
    return figures


def _in_database(bench: Any, *, rounds: int, seconds: float) -> dict[str, Any]:
    """On a durable cluster of its own."""
    from wallet.migrate import upgrade
    from wallet.testing.databases import ScratchCluster

    cluster = ScratchCluster(durable=True, migrate=upgrade)
    try:
        return asyncio.run(bench.measure(cluster.create(), rounds=rounds, seconds=seconds))
    finally:
        cluster.close()


def main(arguments: list[str]) -> int:
    """Run the named benchmark, or all."""
    parser = argparse.ArgumentParser(
        prog="./dev bench",
        description=__doc__,
        epilog="\n".join(["parts; without a NAME all of them, in this order:"]
                         + [f"  {name:<12} {_words(name)}" for name in sorted(BENCHES)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "name", nargs="?", choices=sorted(BENCHES), metavar="NAME", help="one of the parts below"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document, nothing else")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each side, each round")
    books = parser.add_argument_group("ledger")
    books.add_argument("--pgledger", type=Path, metavar="FILE", help="its pgledger.sql, fetched")
    books.add_argument("--lnbits", type=Path, metavar="PYTHON", help="of a venv that has LNbits")
    books.add_argument("--postings", type=int, default=200_000, help="how far the books are grown")
    chosen = parser.parse_args(arguments)
    results = {}
    for name in [chosen.name] if chosen.name else sorted(BENCHES):
        if not chosen.json:
            print(f"{name} …", flush=True)
        results[name] = _measure(name, chosen)
        if not chosen.json:
            for key, value in results[name].items():
                print(f"  {key:<38} {value}", flush=True)
    if chosen.json:
        print(json.dumps(results, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`./dev bench [NAME] [--json]`: figures as ratios taken inside one run."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import (
    broadcast,
    database,
    gas,
    ledger,
    reads,
    scan,
    scan_memory,
    seal,
    signer,
    transfers,
)
from wallet.migrate import upgrade
from wallet.testing.databases import ScratchCluster


def in_database(*, rounds: int, seconds: float) -> dict[str, Any]:
    """`ledger_post` against a stripped transfer."""
    cluster = ScratchCluster(durable=True, migrate=upgrade)
    try:
        return asyncio.run(database.measure(cluster.create(), rounds=rounds, seconds=seconds))
    finally:
        cluster.close()


BENCHES: dict[str, Callable[..., dict[str, Any]]] = {
    "broadcast": broadcast.measure,
    "database": in_database,
    "gas": gas.measure,
    "ledger": ledger.measure,
    "reads": reads.measure,
    "scan": scan.measure,
    "scan-memory": scan_memory.measure,
    "seal": seal.measure,
    "signer": signer.measure,
    "transfers": transfers.measure,
}


def main(arguments: list[str]) -> int:
    """Run the named benchmark, or all."""
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("name", nargs="?", choices=sorted(BENCHES))
    parser.add_argument("--json", action="store_true", help="one JSON document, nothing else")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each side, each round")
    books = parser.add_argument_group("ledger")
    books.add_argument("--pgledger", type=Path, metavar="FILE", help="its pgledger.sql, fetched")
    books.add_argument("--lnbits", type=Path, metavar="PYTHON", help="of a venv that has LNbits")
    books.add_argument("--postings", type=int, default=200_000, help="how far the books are grown")
    chosen = parser.parse_args(arguments)
    more = {
        "ledger": {
            "contenders": ledger.Contenders(chosen.pgledger, chosen.lnbits),
            "postings": chosen.postings,
        }
    }
    results = {}
    for name in [chosen.name] if chosen.name else sorted(BENCHES):
        if not chosen.json:
            print(f"{name} …", flush=True)
        results[name] = BENCHES[name](
            rounds=chosen.rounds, seconds=chosen.seconds, **more.get(name, {})
        )
        if not chosen.json:
            for key, value in results[name].items():
                print(f"  {key:<38} {value}", flush=True)
    if chosen.json:
        print(json.dumps(results, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

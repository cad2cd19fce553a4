"""`./dev campaign NAME […]`: one command a campaign, its figures at the end."""

from __future__ import annotations

import importlib
import sys

CAMPAIGNS: dict[str, str] = {
    "audit": "bench.campaigns.audit",
    "bank": "bench.campaigns.bank",
    "contracts": "bench.campaigns.contracts",
    "idempotency": "bench.campaigns.idempotency",
    "kill": "bench.campaigns.kill",
    "mutation": "bench.campaigns.mutation",
    "reorgs": "bench.campaigns.reorgs",
    "sends": "bench.campaigns.sends",
    "slither": "bench.campaigns.slither",
}
"""Name → module with `main(arguments) -> exit code`; one line each, sorted."""


def main(arguments: list[str]) -> int:
    """Run the named campaign."""
    if not arguments or arguments[0] in ("-h", "--help") or arguments[0] not in CAMPAIGNS:
        print("usage: ./dev campaign NAME [options]\n")
        for name in ("crash", *CAMPAIGNS):
            print(f"  {name}")
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    return int(importlib.import_module(CAMPAIGNS[arguments[0]]).main(arguments[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

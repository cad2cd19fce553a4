"""`./dev campaign NAME […]`: one command a campaign, its figures at the end."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

CAMPAIGNS: dict[str, str] = {
    "audit": "bench.campaigns.audit",
    "bank": "bench.campaigns.bank",
    "contracts": "bench.campaigns.contracts",
    "crash": "bench.campaigns.crash",
    "idempotency": "bench.campaigns.idempotency",
    "kill": "bench.campaigns.kill",
    "mutation": "bench.campaigns.mutation",
    "reorgs": "bench.campaigns.reorgs",
    "sends": "bench.campaigns.sends",
    "slither": "bench.campaigns.slither",
}
"""Name → module with `main(arguments) -> exit code`; one line each, sorted."""


def _words(name: str) -> str:
    """The first line a campaign says of itself, without the command in front."""
    text = Path(__file__).with_name(f"{name}.py").read_text("utf-8")
    first = (ast.get_docstring(ast.parse(text)) or "").split("\n", 1)[0]
    return first.partition("`: ")[2]


def main(arguments: list[str]) -> int:
    """Run the named campaign; without a name, `crash`."""
    if not arguments or (arguments[0][0] == "-" and arguments[0] not in ("-h", "--help")):
        arguments = ["crash", *arguments]
    if arguments[0] in ("-h", "--help"):
        print("usage: ./dev campaign [NAME [options]]\n")
        for name in CAMPAIGNS:
            print(f"  {name:<12} {_words(name)}")
        print("\nWithout a name: crash. `./dev campaign NAME --help` tells the options of one.")
        return 0
    if arguments[0] not in CAMPAIGNS:
        known = ", ".join(CAMPAIGNS)
        print(f"There is no campaign {arguments[0]!r}; there are {known}.", file=sys.stderr)
        return 2
    return int(importlib.import_module(CAMPAIGNS[arguments[0]]).main(arguments[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

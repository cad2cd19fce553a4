"""`python -m wallet.sandbox`: what `./dev run` hands over to."""

from __future__ import annotations

import asyncio
import sys

from wallet.postgres import PostgresError
from wallet.sandbox.board import Board
from wallet.sandbox.config import SandboxConfig, SandboxError
from wallet.sandbox.supervisor import Supervisor


def _reasons(error: BaseException) -> list[str]:
    """The plain lines inside an error, or inside a group of them."""
    if isinstance(error, BaseExceptionGroup):
        return [line for inner in error.exceptions for line in _reasons(inner)]
    return [str(error)]


async def _run() -> int:
    return await Supervisor(SandboxConfig.from_env(), Board()).run()


def main() -> int:
    """Run the sandbox until a signal; 1 with plain lines when it cannot."""
    try:
        return asyncio.run(_run())
    except* (SandboxError, PostgresError) as group:
        for line in _reasons(group):
            print(f"\n  {line}\n", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

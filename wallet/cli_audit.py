"""`bifold audit`: the auditor is started as a process of its own; its pauses are an operator's.

`bifold audit pauses` lists what waits; `bifold audit accept` says that somebody has looked.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Sequence

from wallet import audits
from wallet.bootstrap import build
from wallet.clock import rfc3339
from wallet.processes import die_with_parent
from wallet.settings import Settings

ACTIONS = ("pauses", "accept")


def audit(arguments: Sequence[str]) -> int:
    """0 clean, 1 breaks named, 2 could not read. Imported nowhere: it shares no code with us."""
    return subprocess.run(
        [sys.executable, "-m", "wallet.auditor", *arguments],
        preexec_fn=die_with_parent(signal.SIGTERM),  # with --every it would outlive us
    ).returncode


async def command(settings: Settings, chosen: argparse.Namespace) -> int:
    """List the pauses (1 while there are any), or accept what was looked at."""
    services = build(settings, role="cli")
    try:
        async with services.db.transaction() as session:
            if chosen.action == "pauses":
                waiting = await audits.open_pauses(session)
                for one in waiting:
                    print(f"{one.asset:<6} since {rfc3339(one.at)}  run {one.run_id}  {one.reason}")
                if not waiting:
                    print("No withdrawal waits for the books.")
                return int(bool(waiting))
            closed = await audits.accept(
                session,
                subject=chosen.subject,
                run_id=chosen.run,
                by=chosen.by,
                note=chosen.note,
            )
    finally:
        await services.aclose()
    print(f"{chosen.subject} goes on; closed: {', '.join(closed) or 'no case'}.")
    return 0

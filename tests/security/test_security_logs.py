"""What people send never reaches a log: not by a defect's traceback, not by a database error."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

from wallet.testing.databases import ScratchDatabase

CANARY = "canary-hunter2-of-somebody"

DEFECT = f"""
import structlog
from wallet import log

log.configure("DEBUG")

def compare(password):
    fields = {{"password": password}}
    raise TypeError(f"{{len(fields)}} fields could not be compared")

try:
    compare("-".join({CANARY.split("-")!r}))
except TypeError as error:
    structlog.get_logger("security").error("page.defect", exc_info=error)
"""

ELSEWHERE = """
import logging
from wallet import log

log.configure("DEBUG")
said = 'no\\n{"event": "payment.sent", "level": "info"}\\r\\u2028x'
logging.getLogger("chain.traces").warning("local: no traces of block %d: %s", 5, said)
try:
    raise ValueError(said)
except ValueError:
    logging.getLogger("asyncio").exception("a task failed: %s", said)
"""

DUPLICATE = f"""
import asyncio, structlog, sys
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from wallet import log
from wallet.db import Database

log.configure("DEBUG")

async def main():
    db = Database(sys.argv[1])
    try:
        async with db.transaction() as session:
            for _ in range(2):
                await session.execute(
                    text("INSERT INTO retired_handles (handle) VALUES (:handle)"),
                    {{"handle": "-".join({CANARY.split("-")!r})}},
                )
    except DBAPIError as error:
        structlog.get_logger("security").error("request.defect", exc_info=error)
    finally:
        await db.dispose()

asyncio.run(main())
"""


def _logged(script: str, *arguments: str) -> str:
    """What a process of its own writes to standard error."""
    run = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return run.stderr


def _exceptions(told: str) -> str:
    (line,) = [json.loads(one) for one in told.splitlines()]
    return json.dumps(line["exception"])


def test_a_traceback_says_where_and_never_what_was_sent() -> None:
    told = _exceptions(_logged(DEFECT))
    assert "could not be compared" in told and '"compare"' in told
    assert CANARY not in told


def test_the_same_when_a_person_watches() -> None:
    ours, theirs = pty.openpty()
    run = subprocess.run([sys.executable, "-c", DEFECT], stderr=theirs, timeout=60, check=True)
    os.close(theirs)
    told = os.read(ours, 65_536).decode()
    os.close(ours)
    assert run.returncode == 0 and "could not be compared" in told
    assert CANARY not in told


def test_what_a_node_said_is_in_one_line_of_json_also_where_logging_writes_it() -> None:
    told = _logged(ELSEWHERE)
    lines = [json.loads(one) for one in told.splitlines()]
    assert [line["level"] for line in lines] == ["warning", "error"]
    assert "payment.sent" in lines[0]["event"] and "exception" in lines[1]


def test_a_database_error_quotes_neither_parameters_nor_the_row(database: ScratchDatabase) -> None:
    told = _exceptions(_logged(DUPLICATE, database.app_url))
    assert "UniqueViolation" in told and "retired_handles" in told
    assert CANARY not in told

"""What one command logs: it waits until it is known how the command went.

Commands log who asked for what before it is done. Where that is refused, the person is told so by
the command, and a warning in front of it would say that it was done. After anything else the lines
follow on standard error: some are the only record. `BIFOLD_LOG_LEVEL`, where it is set, shows
every line of that level and above at once, as services do.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from chain.errors import ChainError, NodeGarbage, NodeTimeout, NodeUnavailable
from keys.errors import KeysError
from keys.plain_log import OneLine
from wallet import log as logs
from wallet.errors import DatabaseUnavailable, WalletError

REFUSALS = (WalletError, ChainError, KeysError)
# Whether anything happened is not known after these: what was asked for is worth a line.
UNKNOWN = (DatabaseUnavailable, NodeGarbage, NodeTimeout, NodeUnavailable)


@contextmanager
def held_back() -> Iterator[None]:
    """Hold warnings back; a refusal that leaves the block drops them. Errors are shown at once."""
    told = os.environ.get("BIFOLD_LOG_LEVEL")
    if told:
        logs.configure(told)
        yield
        return
    held = _Held()
    before, root = structlog.get_config(), logging.getLogger()
    root.addHandler(held)  # before `configure`, which leaves a root that has one alone
    logs.configure("WARNING")
    structlog.configure(logger_factory=held, cache_logger_on_first_use=False)
    try:
        yield
    except REFUSALS as error:
        if not isinstance(error, UNKNOWN):
            held.drop()
        raise
    finally:
        held.show()
        root.removeHandler(held)
        structlog.configure(**before)


class _Held(logging.Handler):
    """Takes what `logging` and structlog have to say; for the latter it is factory and logger."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(OneLine(logging.BASIC_FORMAT))
        self._waiting: list[str] = []

    def __call__(self, *_names: object) -> _Held:
        return self

    def emit(self, record: logging.LogRecord) -> None:
        """From `logging`."""
        if record.levelno >= logging.ERROR:
            self.error(self.format(record))
        else:
            self.warning(self.format(record))

    def warning(self, line: str) -> None:
        """Keep a line for later."""
        self._waiting.append(line)

    def error(self, line: str) -> None:
        """Show a line now."""
        print(line, file=sys.stderr, flush=True)

    critical = error

    def drop(self) -> None:
        """Forget what waits."""
        self._waiting.clear()

    def show(self) -> None:
        """What waits, in its order; nothing waits afterwards."""
        for line in self._waiting:
            print(line, file=sys.stderr, flush=True)
        self.drop()

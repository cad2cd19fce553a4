"""Structured logs on standard error: one line an event, JSON unless a person watches.

Tracebacks come without local variables, which hold passwords, tokens and forms; what a database
error quotes of a row goes too.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import ExcInfo

# PostgreSQL's "Key (email_key)=(…) already exists" and "Failing row contains (…)".
_ROW_QUOTED = "DETAIL:"
_tracebacks = ExceptionDictTransformer(show_locals=False)


def _exception(exc_info: ExcInfo) -> list[dict[str, Any]]:
    """The traceback as data: types, places, messages; nothing that somebody sent."""
    told = _tracebacks(exc_info)
    for one in told:
        one["exc_value"] = one["exc_value"].partition(_ROW_QUOTED)[0].rstrip()
    return told


def configure(level: str = "INFO") -> None:
    """Set structlog up once for this process."""
    stamp: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderers: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if sys.stderr.isatty()
        else [
            structlog.processors.ExceptionRenderer(_exception),
            structlog.processors.JSONRenderer(),
        ]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            *stamp,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
        ),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Rooms below this one and libraries use `logging`: what a node said is in these lines.
    others = logging.StreamHandler(sys.stderr)
    others.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=stamp,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[others])

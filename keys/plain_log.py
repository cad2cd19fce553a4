"""Log lines for people: a record is one line, whatever was sent to make it another."""

from __future__ import annotations

import logging


class OneLine(logging.Formatter):
    """What cannot be printed (line ends, colours, marks that turn text round) is its escape."""

    def format(self, record: logging.LogRecord) -> str:
        """The whole record, its traceback included, without a line end."""
        told = super().format(record)
        return "".join(one if one.isprintable() else repr(one)[1:-1] for one in told)

"""Statements of account: opening and closing balance, and every line between with its balance."""

from wallet.statements.builder import (
    MAX_DAYS,
    MAX_LINES,
    Statement,
    StatementDefect,
    StatementLine,
    build,
)
from wallet.statements.sheet import as_csv

__all__ = [
    "MAX_DAYS",
    "MAX_LINES",
    "Statement",
    "StatementDefect",
    "StatementLine",
    "as_csv",
    "build",
]

"""Statements of account: opening and closing balance, and every line between with its balance."""

from wallet.statements.builder import (
    MAX_DAYS,
    MAX_LINES,
    Statement,
    StatementDefect,
    StatementLine,
    build,
)
from wallet.statements.camt import as_camt053, fits
from wallet.statements.sheet import as_csv
from wallet.statements.words import MAX_PAPER_LINES, Holder, Words, as_pdf

__all__ = [
    "MAX_DAYS",
    "MAX_LINES",
    "MAX_PAPER_LINES",
    "Holder",
    "Statement",
    "StatementDefect",
    "StatementLine",
    "Words",
    "as_camt053",
    "as_csv",
    "as_pdf",
    "build",
    "fits",
]

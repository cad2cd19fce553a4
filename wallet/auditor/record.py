"""The report kept in the database, by the two functions that the auditor's role may call."""

from __future__ import annotations

import json
from dataclasses import asdict

import psycopg

from wallet.auditor.check import Finding, flat
from wallet.auditor.run import CHECKPOINTED, ROOMS, CannotRead, Report

FINDINGS_KEPT = 2_000


def keep(url: str, report: Report) -> int:
    """Write it down; the run's number. Raises CannotRead."""
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            row = connection.execute(
                "SELECT audit_record(%s::jsonb)", (json.dumps(_document(report)),)
            ).fetchone()
            assert row is not None
            run = int(row[0])
            if report.settled is not None and _books_agree(report):
                connection.execute(
                    "SELECT audit_checkpoint(%s, %s, %s, %s)",
                    (run, report.scope.base, report.scope.after, report.settled),
                )
            return run
    except psycopg.Error as error:
        raise CannotRead(str(error).strip() or type(error).__name__) from error


def _books_agree(report: Report) -> bool:
    """Whether entries, chains, balances and seal are sound: only then may the next run start
    here."""
    about_books = {check.code for room in CHECKPOINTED for check in flat(ROOMS[room])}
    return not any(finding.code in about_books for finding in report.findings)


def _document(report: Report) -> dict[str, object]:
    return {
        "started_at": report.started_at.isoformat(),
        "after_posting": report.scope.after,
        "settled_posting": report.settled,
        "postings": report.postings,
        "seconds": f"{report.seconds:.3f}",
        "chains": [
            {"network": word.network, "block": word.block, "unknown": word.unknown}
            for word in report.chains
        ],
        "findings": [one(finding) for finding in report.findings[:FINDINGS_KEPT]],
    }


def one(finding: Finding) -> dict[str, object]:
    """A finding as JSON."""
    return asdict(finding) | {"fingerprint": finding.fingerprint}

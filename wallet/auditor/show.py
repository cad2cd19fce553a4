"""The report for a person, and for a program."""

from __future__ import annotations

import json
from itertools import groupby

from wallet.auditor.record import one
from wallet.auditor.run import Report

SHOWN_OF_ONE_CODE = 10
_SHOWN_CHARACTERS = 100


def as_json(report: Report, run: int | None) -> str:
    """One document; amounts are text of whole minor units."""
    return json.dumps(
        {
            "clean": report.clean,
            "run": run,
            "started_at": report.started_at.isoformat(),
            "seconds": round(report.seconds, 3),
            "postings": report.postings,
            "since_posting": None if report.scope.whole else report.scope.after,
            "checks": report.checks,
            "chains": [
                {"network": word.network, "block": word.block, "unknown": word.unknown}
                for word in report.chains
            ],
            "prices_not_checked": report.unknown_assets,
            "addresses_not_derived": report.underived,
            "truncated": report.truncated,
            "findings": [one(finding) for finding in report.findings],
        },
        indent=2,
    )


def as_text(report: Report) -> str:
    """Room by room what was asked, what the chain said, then every break by its name."""
    lines = [f"  {count:>3} checks  {room}" for room, count in report.checks.items()]
    for word in report.chains:
        said = f"read at final block {word.block}" if word.unknown is None else "not known now: "
        lines.append(f"       chain  {word.network}: {said}{word.unknown or ''}")
    if report.unknown_assets:
        names = ", ".join(report.unknown_assets)
        lines.append(f"      prices  not checked, digits unknown: {names}")
    if report.underived:
        lines.append("   addresses  not derived: no keys file here (BIFOLD_KEYS_FILE)")
    since = "" if report.scope.whole else f" since posting {report.scope.after}"
    lines.append("")
    for (code, means), found in groupby(report.findings, key=lambda f: (f.code, f.means)):
        breaks = list(found)
        lines.append(f"✗ {code}: {means}")
        for finding in breaks[:SHOWN_OF_ONE_CODE]:
            where = " ".join(part for part in (finding.network, finding.asset) if part)
            lines.append(f"    {finding.subject}" + (f"  ({where})" if where else ""))
            lines.append(f"      should be  {_short(finding.expected)}")
            lines.append(f"      is         {_short(finding.found)}")
        more = len(breaks) - SHOWN_OF_ONE_CODE
        if more > 0 or code in report.truncated:
            lines.append(f"    and {'at least ' if code in report.truncated else ''}{more} more")
        lines.append("")
    read = f"{report.postings:,} postings{since}, {sum(report.checks.values())} checks"
    took = f"{report.seconds:.1f} s"
    if report.clean:
        asked = "Everything" if report.complete else "What could be asked"
        lines.append(f"✓ {asked} agrees: {read}, {took}.")
    else:
        lines.append(f"✗ {len(report.findings)} breaks: {read}, {took}.")
    return "\n".join(lines)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"

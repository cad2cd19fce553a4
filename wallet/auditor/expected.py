"""The book as it should be: the postings that every row demands, against those that are there.

A cause is a kind of row that is booked: each row names its entry and demands its postings, to the
unit. What an entry holds beyond that, or does not hold, is a break; and so is an entry of that kind
which no row names.
"""

from __future__ import annotations

from dataclasses import dataclass

from wallet.auditor.check import Check

NATIVE = """native AS (
    SELECT split_part(path, ':', 3) AS network, min(asset) AS asset FROM accounts
     WHERE path LIKE 'expense:gas:%' GROUP BY 1)"""
"""A network's native coin, as its gas account has it; `coin(…)` below is that path's last part."""


@dataclass(frozen=True, slots=True)
class Cause:
    """`lines`: SELECT entry_id, path, asset, amount, as many rows as are demanded (equal paths are
    added up, zeros fall out). `named`: SELECT of the entry ids that rows of this cause name.
    `kinds`: kinds of entries that this cause alone explains. `extra`: further common tables."""

    code: str
    means: str
    kinds: tuple[str, ...]
    lines: str
    named: str
    extra: str = ""


def checks_of(cause: Cause) -> tuple[Check, ...]:
    """Demanded against booked, and the entries nobody names."""
    extra = cause.extra + ", " if cause.extra else ""
    kinds = ", ".join(f"'{kind}'" for kind in cause.kinds)
    return (
        Check(
            f"{cause.code}_entry_off",
            f"{cause.means}: its entry moves exactly that",
            f"WITH {extra}want AS (SELECT entry_id, path, asset, sum(amount) AS amount"
            f" FROM ({cause.lines}) l WHERE entry_id IS NOT NULL"
            " AND ({after} < 0 OR entry_id IN (SELECT entry_id FROM postings WHERE id > {after}))"
            " GROUP BY 1, 2, 3 HAVING sum(amount) <> 0),"
            " have AS (SELECT p.entry_id, a.path, p.asset, p.amount_minor AS amount FROM postings p"
            "  JOIN accounts a ON a.id = p.account_id"
            "  WHERE p.id > {after} AND p.entry_id IN (SELECT entry_id FROM want))"
            " SELECT entry_id, NULL, asset, path || ' ' || coalesce(want.amount, 0),"
            " coalesce(have.amount, 0) FROM want FULL JOIN have USING (entry_id, path, asset)"
            " WHERE want.amount IS DISTINCT FROM have.amount",
        ),
        Check(
            f"{cause.code}_entry_missing",
            f"{cause.means}: the entry it names is there, under its kind",
            f"SELECT n.entry_id, NULL, NULL, '{'/'.join(cause.kinds)}', e.kind"
            f" FROM ({cause.named}) n LEFT JOIN entries e ON e.id = n.entry_id"
            f" WHERE n.entry_id IS NOT NULL AND (e.id IS NULL OR e.kind NOT IN ({kinds}))",
        ),
        Check(
            f"{cause.code}_entry_uncaused",
            f"{cause.means}: an entry of that kind is named by its row",
            "SELECT e.id, NULL, (SELECT min(p.asset) FROM postings p WHERE p.entry_id = e.id),"
            " 'a row that names it', NULL FROM entries e"
            f" WHERE e.kind IN ({kinds}) AND e.id NOT IN"
            f" (SELECT n.entry_id FROM ({cause.named}) n WHERE n.entry_id IS NOT NULL)",
        ),
    )

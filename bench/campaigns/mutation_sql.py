"""Forty written faults of the posting SQL: each a search and its replacement in one function.

They are applied to the newest definition as the migrations leave it; a search that is not there
exactly once stops the campaign, so a patch cannot quietly become nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg


@dataclass(frozen=True)
class Patch:
    """One fault. `function` is a name in schema public that has one definition."""

    name: str
    function: str
    search: str
    replace: str


P = Patch
PATCHES: tuple[Patch, ...] = (
    # Judging one command
    P("a missing account passes", "ledger_refuse_moves", "IF line.id IS NULL THEN",
      "IF false THEN"),
    P("another asset passes", "ledger_refuse_moves", "IF line.asset <> line.account_asset THEN",
      "IF false THEN"),
    P("a closed account takes part", "ledger_refuse_moves", "IF line.status = 'closed' THEN",
      "IF false THEN"),
    P("a hold on a system account", "ledger_refuse_moves", "IF line.kind = 'system' THEN",
      "IF false THEN"),
    P("a frozen account opens a hold", "ledger_refuse_moves",
      "IF line.status = 'frozen' THEN RETURN ARRAY['account_frozen', line.id]; END IF;\n"
      "            IF opened.amount",
      "IF opened.amount"),
    P("a hold of a fraction", "ledger_refuse_moves",
      "OR opened.amount <> trunc(opened.amount) THEN", "THEN"),
    P("an account named twice", "ledger_refuse_moves", "IF line.account = last_account THEN",
      "IF false THEN"),
    P("a posting of nothing", "ledger_refuse_moves",
      "abs(line.amount) NOT BETWEEN 1 AND", "abs(line.amount) NOT BETWEEN 0 AND"),
    P("a posting of a fraction", "ledger_refuse_moves",
      "OR line.amount <> trunc(line.amount) THEN", "THEN"),
    P("a frozen account pays", "ledger_refuse_moves",
      "IF line.status = 'frozen' AND line.amount < 0", "IF false"),
    P("a frozen account cannot pay its hold", "ledger_refuse_moves",
      "AND -line.amount > ledger_captured(command, line.id)", ""),
    P("what is held does not count", "ledger_refuse_moves", "needed := line.held_minor;",
      "needed := 0;"),
    P("the hold beside a posting does not count", "ledger_refuse_moves",
      "THEN needed := needed + opened.amount; END IF;", "THEN needed := needed; END IF;"),
    P("what is freed does not count", "ledger_refuse_moves",
      "needed := needed - ledger_freed(command, line.id); END IF;", "needed := needed; END IF;"),
    P("one unit too much passes", "ledger_refuse_moves", "IF line.balance_minor < needed THEN",
      "IF line.balance_minor + 1 < needed THEN"),
    P("the last unit cannot be spent", "ledger_refuse_moves",
      "IF line.balance_minor < needed THEN", "IF line.balance_minor <= needed THEN"),
    P("an unbalanced entry passes the judge", "ledger_refuse_moves",
      "HAVING sum(r.amount) <> 0 LIMIT 1;", "HAVING false LIMIT 1;"),
    P("no entry and postings", "ledger_refuse_entry", "THEN ARRAY['no_entry', NULL] END;",
      "THEN NULL::text[] END;"),
    P("an entry without postings", "ledger_refuse_entry",
      "IF coalesce(jsonb_array_length(command->'postings'), 0) = 0 THEN", "IF false THEN"),
    P("reversed twice", "ledger_refuse_entry", "IF about IS NOT NULL AND EXISTS",
      "IF false AND EXISTS"),
    # Judging closings
    P("a hold named twice", "ledger_refuse_closing", "IF line.hold = ANY (seen) THEN",
      "IF false THEN"),
    P("a hold that moved", "ledger_refuse_closing", "IF line.expected <> line.kept THEN",
      "IF false THEN"),
    P("a closed hold", "ledger_refuse_closing", "IF line.status <> 'open' THEN", "IF false THEN"),
    P("a late capture", "ledger_refuse_closing",
      "IF line.capture > 0 AND line.expires_at <= bifold_now() THEN", "IF false THEN"),
    P("more than is kept", "ledger_refuse_closing",
      "OR line.capture + line.release > line.kept THEN",
      "OR line.capture + line.release > line.kept + 1 THEN"),
    P("captured and not spent", "ledger_refuse_closing",
      "IF (line.capture > 0 OR line.kind = 'payment_hold') AND", "IF false AND"),
    # Writing one command
    P("the account's place is not counted", "ledger_apply",
      "posting_count = a.posting_count + 1", "posting_count = a.posting_count + 0"),
    P("the time of the event is forgotten", "ledger_apply",
      "coalesce((entry->>'event_at')::timestamptz, bifold_now())", "bifold_now()"),
    P("the hold is not set aside", "ledger_open_hold", "SET held_minor = held_minor +",
      "SET held_minor = held_minor + 0 *"),
    P("what is given back stays held", "ledger_close_holds",
      "SET held_minor = a.held_minor - t.amount", "SET held_minor = a.held_minor - 0 * t.amount"),
    P("a used-up hold stays open", "ledger_close_holds",
      "status = CASE WHEN s.whole THEN 'closed' ELSE 'open' END", "status = 'open'"),
    # Sets
    P("a set spends past the balance", "ledger_post_run",
      "sum(l.amount - l.held) OVER w < 0)", "sum(l.amount - l.held) OVER w < -1)"),
    P("a set takes an unbalanced entry", "ledger_post_run", "HAVING sum(j.amount) <> 0)",
      "HAVING false)"),
    P("a set opens accounts that are not open", "ledger_post_run", "a.status <> 'open' OR",
      ""),
    P("a set takes a fraction", "ledger_post_run",
      "OR abs(p.amount) NOT BETWEEN 1 AND 1e78 - 1 OR p.amount <> trunc(p.amount)))",
      "OR abs(p.amount) NOT BETWEEN 1 AND 1e78 - 1))"),
    P("a set closes more than is kept", "ledger_odd_closing",
      "OVER w\n                  > h.amount_minor - h.captured_minor - h.released_minor",
      "OVER w\n                  > h.amount_minor"),
    P("a set's balance after is the last one's", "ledger_post_run",
      "a.balance_minor + sum(l.amount) OVER w AS balance",
      "a.balance_minor + l.amount AS balance"),
    P("a set forgets deltas", "ledger_apply_run",
      "WHERE l.kind = 'system' AND l.entry IS NOT NULL GROUP BY l.account)",
      "WHERE false GROUP BY l.account)"),
    # Behind the poster
    P("a fold loses a delta", "ledger_fold", "sum(amount_minor) AS amount",
      "max(amount_minor) AS amount"),
    P("the table takes an entry that is off", "ledger_check_postings",
      "WHERE t.total <> 0 OR", "WHERE"),
)  # fmt: skip


def patched(conninfo: str, patch: Patch) -> None:
    """Apply it as the owner. Raises ValueError where the search is not there exactly once."""
    with psycopg.connect(conninfo, autocommit=True) as owner:
        rows = owner.execute(
            "SELECT pg_get_functiondef(p.oid) FROM pg_proc p"
            " WHERE p.proname = %s AND p.pronamespace = 'public'::regnamespace",
            (patch.function,),
        ).fetchall()
        if len(rows) != 1:
            raise ValueError(f"{patch.function} has {len(rows)} definitions")
        definition: str = rows[0][0]
        if definition.count(patch.search) != 1:
            raise ValueError(f"{patch.name}: found {definition.count(patch.search)} times")
        owner.execute(definition.replace(patch.search, patch.replace).encode())

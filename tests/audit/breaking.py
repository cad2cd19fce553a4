"""Ways to break healthy books, each with the name under which it must be found.

`Break(code, what, *sql)`: the statements run as the superuser with triggers and foreign keys
asleep; the last one must touch a row. What a constraint would still refuse is dropped first.
"""

from __future__ import annotations

from dataclasses import dataclass

ADA = "(SELECT id FROM users ORDER BY created_at LIMIT 1)"
BEN = "(SELECT id FROM users ORDER BY created_at OFFSET 1 LIMIT 1)"
CUSTOMER = (
    "(SELECT id FROM accounts WHERE kind = 'customer' AND posting_count > 2 ORDER BY path LIMIT 1)"
)
SYSTEM = "(SELECT id FROM accounts WHERE path = 'chain:local:ETH:hot')"
POSTING = "(SELECT max(id) FROM postings WHERE account_seq > 1)"
SYSTEM_POSTING = f"(SELECT min(id) FROM postings WHERE account_id = {SYSTEM})"
TRANSFER = "(SELECT id FROM transfers WHERE asset = 'EUR' ORDER BY id LIMIT 1)"
SETTLED = (
    "(SELECT id FROM withdrawals WHERE status = 'settled' AND asset = 'ETH' ORDER BY id LIMIT 1)"
)
SETTLED_TOKEN = "(SELECT id FROM withdrawals WHERE status = 'settled' AND asset = 'USDC' LIMIT 1)"
QUEUED = "(SELECT id FROM withdrawals WHERE status = 'held' LIMIT 1)"
INTENT = f"(SELECT intent_id FROM withdrawals WHERE id = {SETTLED})"
TOKEN_INTENT = f"(SELECT intent_id FROM withdrawals WHERE id = {SETTLED_TOKEN})"
CREDITED = "(SELECT min(id) FROM deposits WHERE status = 'credited' AND principal_id IS NOT NULL)"
HOUSE_DEPOSIT = "(SELECT min(id) FROM deposits WHERE principal_id IS NULL AND entry_id IS NOT NULL)"
COMPLETED = "(SELECT min(id) FROM payments WHERE status = 'completed')"
RETURNED = "(SELECT min(id) FROM payments WHERE status = 'returned')"
CONVERSION = "(SELECT min(id) FROM conversions)"
CAPTURED = "(SELECT min(hold_id) FROM hold_captures c JOIN payment_holds p ON p.id = c.hold_id)"
OPEN_HOLD = (
    "(SELECT min(p.id) FROM payment_holds p JOIN holds h ON h.id = p.id WHERE h.status = 'open')"
)
SWEEP = "(SELECT min(id) FROM sweeps WHERE state = 'done' AND kind = 'coin')"
FUTURE = "clock_timestamp() + interval '10 years'"


@dataclass(frozen=True)
class Break:
    code: str
    what: str
    sql: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.code}: {self.what}"


def of(code: str, what: str, *sql: str) -> Break:
    return Break(code, what, sql)


def unchecked(table: str, *names: str) -> tuple[str, ...]:
    return tuple(f"ALTER TABLE {table} DROP CONSTRAINT {name}" for name in names)


def new_entry(kind: str, *lines: tuple[str, int], ref: str = "x") -> tuple[str, ...]:
    """An entry out of nothing, balanced where its lines are, with balances to match."""
    made = [
        "INSERT INTO entries (id, kind, ref, event_at) VALUES"
        f" ('ent_planted', '{kind}', '{ref}', clock_timestamp())"
    ]
    for path, minor in lines:
        where = f"FROM accounts a WHERE a.path = {path}"
        made += [
            "INSERT INTO postings (entry_id, account_id, asset, amount_minor, account_seq,"
            f" balance_after_minor) SELECT 'ent_planted', a.id, a.asset, {minor},"
            " CASE WHEN a.kind = 'customer' THEN a.posting_count + 1 END,"
            f" CASE WHEN a.kind = 'customer' THEN a.balance_minor + {minor} END {where}",
            f"UPDATE accounts a SET balance_minor = balance_minor + {minor},"
            f" posting_count = posting_count + 1 WHERE a.path = {path}",
        ]
    return tuple(made)


def customer(who: str, asset: str = "EUR") -> str:
    return f"'customer:' || {who} || ':{asset}'"

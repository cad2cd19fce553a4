"""Healthy books: no false alarm, and every flow is really in them."""

from __future__ import annotations

import pytest

from tests.audit.conftest import Books

STANDS = {
    "transfers": "SELECT count(*) FROM transfers",
    "ended holds": "SELECT count(DISTINCT ended) FROM payment_holds",
    "open holds": "SELECT count(*) FROM holds WHERE status = 'open'",
    "settled withdrawals": "SELECT count(*) FROM withdrawals WHERE status = 'settled'",
    "cancelled withdrawals": "SELECT count(*) FROM withdrawals WHERE status = 'cancelled'",
    "queued withdrawals": "SELECT count(*) FROM withdrawals WHERE status = 'held'",
    "conversions": "SELECT count(*) FROM conversions",
    "payments": "SELECT count(DISTINCT status) FROM payments",
    "sweeps": "SELECT count(*) FROM sweeps WHERE state = 'done'",
    "treasury": "SELECT count(*) FROM treasury_moves WHERE state = 'done'",
    "credited": "SELECT count(*) FROM deposits WHERE status = 'credited'",
    "seen": "SELECT count(*) FROM deposits WHERE status IN ('seen', 'confirmed')",
    "answers": "SELECT count(*) FROM idempotency_answers",
    "events": "SELECT count(*) FROM events",
    "top-ups": "SELECT count(DISTINCT (method, status)) FROM topups",
    "kept aside and charged back": "SELECT count(*) FROM topups WHERE kept_aside"
    " AND charge_back_entry_id IS NOT NULL",
    "lines of nobody": "SELECT count(*) FROM gateway_lines WHERE entry_id IS NOT NULL",
    "debts": "SELECT count(*) FROM account_balances WHERE path LIKE 'receivable:%'"
    " AND balance_minor < 0",
    "debts repaid in part": "SELECT count(*) FROM entries WHERE kind = 'receivable_collected'",
    "strays assigned": "SELECT count(*) FROM bank_strays WHERE topup_id IS NOT NULL",
    "lines kept aside": "SELECT count(*) FROM bank_lines_aside k JOIN bank_lines l"
    " ON l.asset = k.account AND l.line_id > k.line_id",
    "strays that wait": "SELECT count(*) FROM bank_strays WHERE topup_id IS NULL",
    "resolutions": "SELECT count(DISTINCT (kind, deed)) FROM gateway_resolutions"
    " WHERE state = 'posted'",
    "corrections": "SELECT count(DISTINCT kind) FROM corrections WHERE state = 'posted'",
    "seals": "SELECT count(*) FROM seals",
    "deltas": "SELECT count(*) FROM account_deltas",
}  # fmt: skip


def test_healthy_books_are_clean_with_the_chain(books: Books) -> None:
    report = books.audit(ask_chain=True)
    assert report.findings == []
    assert [(word.network, word.unknown) for word in report.chains] == [("local", None)]
    assert report.postings > 100 and report.settled is not None
    assert report.unknown_assets == [] and report.truncated == []


@pytest.mark.parametrize("what", STANDS)
def test_every_flow_is_in_them(books: Books, what: str) -> None:
    least = {"ended holds": 3, "payments": 6, "settled withdrawals": 2, "answers": 20,
             "top-ups": 5, "resolutions": 3, "corrections": 2, "seals": 100}  # fmt: skip
    assert books.value(STANDS[what]) >= least.get(what, 1)

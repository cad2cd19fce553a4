"""What a reconciliation line calls explained, and balances of one account as people read them."""

from __future__ import annotations

import pytest

from wallet.ledger.reads import Balance
from wallet.ledger.reconcile_line import ReconcileLine


def line(ledger: int, outside: int, in_flight: int = 0, *, problem: bool = False) -> ReconcileLine:
    return ReconcileLine("chain:local:ETH:hot", "ETH", ledger, outside, in_flight, problem=problem)


class TestReconcileLine:
    @pytest.mark.parametrize(
        ("ledger", "outside", "in_flight", "difference"),
        [(5, 5, 0, 0), (5, 7, 2, 0), (5, 3, -2, 0), (5, 7, 0, 2), (5, 7, 3, -1), (7, 5, 0, -2)],
    )
    def test_the_difference_is_what_nothing_explains(
        self, ledger: int, outside: int, in_flight: int, difference: int
    ) -> None:
        asked = line(ledger, outside, in_flight)
        assert asked.difference == difference
        assert asked.balanced is (difference == 0)

    def test_a_problem_is_not_balanced_although_its_sums_agree(self) -> None:
        assert line(5, 5).balanced
        assert not line(5, 5, problem=True).balanced

    def test_nothing_is_in_flight_and_nothing_is_wrong_unless_said(self) -> None:
        plain = ReconcileLine("bank:simbank:EUR", "EUR", 5, 5)
        assert (plain.in_flight_minor, plain.note, plain.problem) == (0, "", False)
        assert plain.balanced


def test_what_is_held_is_not_available() -> None:
    balance = Balance("EUR", total_minor=10, held_minor=3, status="open")
    assert balance.available_minor == 7

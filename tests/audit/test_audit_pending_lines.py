"""What a bank has done otherwise than it said is no break while its line waits to be read, and is
one where there is no such line."""

from __future__ import annotations

import pytest

from tests.audit.conftest import Books
from wallet.bootstrap import asset_book
from wallet.db import Database
from wallet.money import Money
from wallet.payouts.rails import StatementLine
from wallet.payouts.simbank import SimulatedBank
from wallet.payouts.statement import StatementReader

AFTER = {"refused": "settled", "returned": "settled", "settled": "returned"}


class Nobody:
    """No line of these tests is an incoming transfer."""

    async def take(self, session: object, bank: str, line: StatementLine, money: Money) -> None:
        raise AssertionError(line)


def reference_of(books: Books, answer: str) -> str:
    return str(
        books.value(
            f"SELECT min(reference) FROM payouts WHERE answer = '{answer}'"
            " AND contradicted_at IS NULL"
        )
    )


@pytest.mark.parametrize("answer", AFTER)
async def test_a_line_that_waits_to_be_read_is_no_break(books: Books, answer: str) -> None:
    """The bank's order says it already, our books say it with the line."""
    reference = reference_of(books, answer)
    db = Database(books.url())
    bank = SimulatedBank(db)
    await bank.contradict(reference)
    assert books.codes() == set()
    await StatementReader(db, bank, asset_book({}), Nobody()).tick()
    await db.dispose()
    marked = f"SELECT contradicted_at IS NOT NULL FROM payouts WHERE reference = '{reference}'"
    assert books.value(marked)
    assert books.codes() == set()
    books.plant(f"UPDATE payouts SET contradicted_at = NULL WHERE reference = '{reference}'")
    assert "bank_answer_unheard" in books.codes()  # it was read, and nobody was told


@pytest.mark.parametrize("answer", AFTER)
def test_another_end_without_a_line_is_a_break(books: Books, answer: str) -> None:
    reference = reference_of(books, answer)
    books.plant(
        f"UPDATE simbank.orders SET status = '{AFTER[answer]}' WHERE reference = '{reference}'"
    )
    assert "bank_answer_unheard" in books.codes()


async def test_a_line_kept_aside_is_a_case_and_no_break(books: Books) -> None:
    reference = reference_of(books, "settled")
    db = Database(books.url())
    bank = SimulatedBank(db)
    await bank.contradict(reference)
    books.plant(
        "UPDATE simbank.statement SET at = '1990-01-01T00:00:00Z' WHERE id ="
        " (SELECT max(id) FROM simbank.statement)"
    )
    await StatementReader(db, bank, asset_book({}), Nobody()).tick()
    await db.dispose()
    assert books.value("SELECT count(*) FROM cases WHERE kind = 'statement_line_aside'") >= 1
    assert books.codes() == set()

"""The campaign at reduced size: random books without a false alarm, and a book made in bulk."""

from __future__ import annotations

import pytest

from bench.campaigns.audit import random_books, speed
from wallet.testing.databases import ScratchCluster

BOOKS = 6
POSTINGS = 5_000


@pytest.mark.slow
def test_random_books_are_clean(cluster: ScratchCluster) -> None:
    done, wrong = random_books(cluster, books=BOOKS, seed=11)
    assert wrong == []
    assert done["chain read"] > 0 and len(done) > 5


def test_a_book_in_bulk_is_sound_and_read_whole(cluster: ScratchCluster) -> None:
    lines, seconds = speed(cluster, POSTINGS)
    assert int(lines[0].split()[0].replace(",", "")) > POSTINGS * 0.9
    assert seconds < 60

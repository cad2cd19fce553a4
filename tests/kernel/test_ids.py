"""Ids: a kind, then a ULID."""

from __future__ import annotations

import time

from ulid import ULID

from wallet.ids import is_id, new_id


def test_an_id_is_a_ulid_of_now() -> None:
    before = time.time_ns() // 1_000_000
    id_ = new_id("ent")
    assert is_id(id_, "ent")
    assert before <= ULID.from_str(id_[4:]).milliseconds <= time.time_ns() // 1_000_000


def test_all_the_bits_after_the_time_are_chance() -> None:
    parts = [int(ULID.from_str(new_id("ent")[4:])) & (1 << 80) - 1 for _ in range(2_000)]
    assert len(set(parts)) == 2_000
    for bit in range(80):
        assert 800 < sum(part >> bit & 1 for part in parts) < 1_200


def test_ids_sort_by_their_millisecond() -> None:
    first = new_id("ent")
    time.sleep(0.002)
    assert first < new_id("ent")

"""The kill campaign at a size for CI: two processes of a real sandbox die, under load.

`tests/story` kills each of the five without load, the campaign all of them with it.
"""

from __future__ import annotations

import pytest

from bench.campaigns.kill import VICTIMS, measure, order
from wallet.testing.pace import patience

KILLS = 2
pytestmark = [pytest.mark.crash, pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_killed_process_is_back_and_all_work_ends() -> None:
    """By `kill -9`; the books agree with chain and bank."""
    figures = measure(kills=KILLS, errands=4, patience=patience(1.0))
    assert figures["wrong"] == []
    assert len({death.victim for death in figures["deaths"]}) == KILLS
    assert figures["balanced"]
    assert figures["work"]


def test_every_kind_dies_in_each_round() -> None:
    assert sorted(order(10, 3)) == sorted([*VICTIMS, *VICTIMS])
    assert order(10, 3) == order(10, 3) != order(10, 4)

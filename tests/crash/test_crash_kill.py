"""The kill campaign at a size for CI: each process of a real sandbox dies once, under load."""

from __future__ import annotations

import pytest

from bench.campaigns.kill import VICTIMS, measure, order
from wallet.testing.pace import patience

pytestmark = [pytest.mark.crash, pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_killed_process_is_back_and_all_work_ends() -> None:
    """API, worker, signer, database and chain by `kill -9`; the books agree with chain and bank."""
    figures = measure(kills=len(VICTIMS), errands=4, patience=patience(1.0))
    assert figures["wrong"] == []
    assert {death.victim for death in figures["deaths"]} == set(VICTIMS)
    assert figures["balanced"]
    assert figures["work"]


def test_every_kind_dies_in_each_round() -> None:
    assert sorted(order(10, 3)) == sorted([*VICTIMS, *VICTIMS])
    assert order(10, 3) == order(10, 3) != order(10, 4)

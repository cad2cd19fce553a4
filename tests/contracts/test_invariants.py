"""A few runs of `./dev campaign contracts`, on a random part of its seeds."""

from __future__ import annotations

import random

import pytest

from bench.campaigns.contracts import Broken, Ghost, Stage, run_once
from chain.testing.evm import Evm

RUNS = 20


def test_random_calls_break_nothing(evm: Evm) -> None:
    stage = Stage(evm)
    start = random.randrange(10**6)
    went = sum(run_once(stage, seed) for seed in range(start, start + RUNS))
    assert went > RUNS, f"seeds from {start}: hardly anything went through"


def test_the_campaign_notices_what_is_off(evm: Evm) -> None:
    stage = Stage(evm)
    funds = stage.holds(stage.operator)
    stage.check(Ghost(), funds)
    evm.send(stage.token, "transfer", stage.thief, 1)
    with pytest.raises(Broken, match="thief holds 1, not 0"):
        stage.check(Ghost(), funds)

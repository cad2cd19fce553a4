"""A few runs of `./dev campaign contracts`. BIFOLD_CAMPAIGN_SEED draws others."""

from __future__ import annotations

import os

import pytest

from bench.campaigns.contracts import Broken, Ghost, Stage, run_once
from chain.testing.evm import Evm

RUNS = 20


def test_random_calls_break_nothing(evm: Evm) -> None:
    stage = Stage(evm)
    start = int(os.environ.get("BIFOLD_CAMPAIGN_SEED", "90001"))
    went = sum(run_once(stage, seed) for seed in range(start, start + RUNS))
    assert went > RUNS, f"seeds from {start}: hardly anything went through"


def test_the_campaign_notices_what_is_off(evm: Evm) -> None:
    stage = Stage(evm)
    funds = stage.holds(stage.operator)
    stage.check(Ghost(), funds)
    evm.send(stage.token, "transfer", stage.thief, 1)
    with pytest.raises(Broken, match="thief holds 1, not 0"):
        stage.check(Ghost(), funds)

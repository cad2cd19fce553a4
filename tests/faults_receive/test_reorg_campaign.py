"""A few cases of `./dev campaign reorgs`, and the one beyond finality. BIFOLD_CAMPAIGN_SEED draws
others."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from bench.campaigns.reorgs import KEEP_STATES, MAX_DEPTH, Case, cases, deeper_halts, run
from chain.testing import AnvilProcess
from wallet.db import Database
from wallet.testing.seam import Seam

SAMPLE = 8
SEED = int(os.environ.get("BIFOLD_CAMPAIGN_SEED", "90001"))


@pytest.mark.slow
async def test_a_sample_is_right_to_the_wei(db: Database, tmp_path: Path) -> None:
    everything = cases(list(range(1, MAX_DEPTH + 1)))
    assert len(everything) == 64 * 2 * 4 * 2
    edges = [Case(MAX_DEPTH, "USDC", "followed", True), Case(MAX_DEPTH, "ETH", "unseen", False)]
    chosen = [*random.Random(SEED).sample(everything, SAMPLE - len(edges)), *edges]
    process = AnvilProcess(keep_states=KEEP_STATES)
    process.start()
    try:
        seam = await Seam.open(db, process.url, tmp_path / "signer", confirmations=70)
        assert await run(seam, chosen) == [], [str(case) for case in chosen]
        assert await deeper_halts(seam) == []
        await seam.close()
    finally:
        process.stop()

"""`./dev campaign sends` at reduced size: every fault once. BIFOLD_CAMPAIGN_SEED draws others."""

from __future__ import annotations

import os

import pytest

from wallet.testing.seam import Seam
from wallet.testing.sends import FAULTS, Stage, Tally, play

SEED = int(os.environ.get("BIFOLD_CAMPAIGN_SEED", "90001"))


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_every_fault_once(seam: Seam) -> None:
    assert len(FAULTS) >= 28
    stage, tally = await Stage.open(seam), Tally()
    for name in FAULTS:
        await play(stage, name, SEED, tally)
        assert tally.wrong == []
    assert tally.by_end["settled"] > len(FAULTS) / 2
    nonces = await seam.rows("SELECT nonce FROM chain_intents WHERE nonce IS NOT NULL ORDER BY 1")
    assert [row.nonce for row in nonces] == list(range(len(nonces)))

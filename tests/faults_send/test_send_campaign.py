"""`./dev campaign sends` at reduced size: every fault once, by a seed drawn anew each time."""

from __future__ import annotations

import random

import pytest

from wallet.testing.seam import Seam
from wallet.testing.sends import FAULTS, Stage, Tally, play


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_every_fault_once(seam: Seam) -> None:
    assert len(FAULTS) >= 28
    stage, tally = await Stage.open(seam), Tally()
    for name in FAULTS:
        await play(stage, name, random.randrange(10**6), tally)
        assert tally.wrong == []
    assert tally.by_end["settled"] > len(FAULTS) / 2
    nonces = await seam.rows("SELECT nonce FROM chain_intents WHERE nonce IS NOT NULL ORDER BY 1")
    assert [row.nonce for row in nonces] == list(range(len(nonces)))

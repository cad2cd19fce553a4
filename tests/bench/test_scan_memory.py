"""The scanner keeps nothing of the blocks behind it."""

from __future__ import annotations

from typing import Any

import pytest

from bench.scan_memory import Sample, scan, slope
from chain.blocks import Block
from wallet.testing.seam import Seam

STEP = 30
STEPS = 6
WARM = 2
MOST_PER_BLOCK = 5.0
"""Memory blocks. One `Block` that is kept, and no receipt, holds about ten. Over 5,000 blocks the
bench finds none at all; over so few as here it shows what pools and caches still take in."""


def _per_block(samples: list[Sample]) -> float:
    return slope([(sample.blocks, sample.allocated) for sample in samples[WARM:]])


async def test_memory_does_not_grow_with_blocks(seam: Seam) -> None:
    samples = await scan(seam, blocks=STEP * STEPS, step=STEP)
    assert len(samples) == STEPS

    assert _per_block(samples) < MOST_PER_BLOCK, samples


async def test_a_scanner_that_keeps_blocks_is_noticed(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Block | None] = []
    chain = seam.scanner._chain
    real = chain.full_blocks

    async def keep(numbers: Any) -> list[Block | None]:
        blocks = await real(numbers)
        kept.extend(blocks)
        return blocks

    monkeypatch.setattr(chain, "full_blocks", keep)
    samples = await scan(seam, blocks=STEP * STEPS, step=STEP)
    assert len(kept) >= STEP * STEPS
    assert _per_block(samples) > MOST_PER_BLOCK + 3, samples

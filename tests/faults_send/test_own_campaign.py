"""`./dev campaign sends --own` at reduced size: sweeps by all three means, moves between hot, warm
and cold, evacuations, each house under a few faults, and one seed twice.
BIFOLD_CAMPAIGN_SEED draws other faults, amounts and moments."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from bench.campaigns.sends import house_of, play_seed
from wallet.testing.databases import ScratchCluster
from wallet.testing.send_faults import FAULTS
from wallet.testing.sends import Tally
from wallet.testing.stage import ON_ANVIL, OWN_HOUSES

SEED = int(os.environ.get("BIFOLD_CAMPAIGN_SEED", "90001"))
FAKE = [name for name in OWN_HOUSES if name not in ON_ANVIL]


def drawn(house: str, count: int) -> list[str]:
    return random.Random(f"{SEED}/{house}").sample(sorted(FAULTS), count)


def right(tally: Tally, *wanted: str) -> None:
    """Nothing is wrong, and the house has moved its own coins."""
    assert tally.wrong == []
    assert (tally.off, tally.stranded) == (0, 0) and tally.most_mined <= 1
    assert {f"{kind} final_ok" for kind in wanted} <= set(tally.by_own)


def test_every_house_of_its_own_has_its_turn() -> None:
    assert {house_of(seed, own=True) for seed in range(len(FAKE))} == set(FAKE)
    tens = {house_of(10 * seed, own=True, anvil=True) for seed in range(len(OWN_HOUSES))}
    assert tens == OWN_HOUSES.keys()


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_sweeps_and_moves_end_as_they_say(cluster: ScratchCluster) -> None:
    for house in ("swept", "warm"):
        played = await play_seed(cluster, SEED, drawn(house, 2), anvil=False, house=house)
        right(played.tally)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_an_evacuation_is_the_same_byte_for_byte(
    cluster: ScratchCluster, tmp_path: Path
) -> None:
    names = ["answer lost", *drawn("evacuated", 1)]
    files = [tmp_path / name for name in ("once", "again")]
    for file in files:
        played = await play_seed(cluster, SEED, names, anvil=False, house="evacuated", file=file)
        right(played.tally)
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("house", "kind"), [("delegated", "coin"), ("key-less", "flush")])
async def test_contracts_sweep_on_anvil(cluster: ScratchCluster, house: str, kind: str) -> None:
    played = await play_seed(
        cluster, SEED, ["answer lost", *drawn(house, 1)], anvil=True, house=house
    )
    right(played.tally, kind)

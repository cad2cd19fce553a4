"""`./dev campaign sends` at reduced size: every row once, a third of them on Anvil, too, and one
seed twice.
BIFOLD_CAMPAIGN_SEED draws other faults, amounts and moments."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from bench.campaigns.sends import house_of, how, kept, parser, plan, play_seed
from wallet.testing.databases import ScratchCluster
from wallet.testing.send_faults import FAULTS, ROWS, chosen
from wallet.testing.sends import Tally
from wallet.testing.stage import HOUSES

SEED = int(os.environ.get("BIFOLD_CAMPAIGN_SEED", "90001"))
ON_ANVIL = 10
FAULT = "answer lost"
TWICE = [
    "three workers",
    "connections cut",
    "three crashes",
    "shallow reorg",
    "foreign transaction",
]
BATCHED = [
    FAULT,  # which makes the allowances
    "old copy",
    "gas too low",  # which leaves none
    "shallow reorg",
    "three crashes",
    "foreign transaction",
]


def right(tally: Tally) -> None:
    """No schedule is wrong, and they were not all about nothing."""
    assert tally.wrong == []
    assert (tally.most_mined, tally.off, tally.stranded) == (1, 0, 0)
    assert tally.by_end["settled"] > tally.payments / 2


def test_every_row_of_the_matrix_has_its_faults() -> None:
    assert len(ROWS) == 29 and len(FAULTS) > 50  # S1 to S28, and the old copy
    for row in ROWS:
        of_row = {name for name, fault in FAULTS.items() if row in fault.rows.split()}
        assert {chosen(row, seed) for seed in range(len(of_row))} == of_row != set()
        assert {chosen(row, 10 * seed) for seed in range(len(of_row))} == of_row  # those on Anvil


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_every_row_once_on_a_fake_node_and_some_on_anvil(cluster: ScratchCluster) -> None:
    names = plan(SEED, None, every_fault=False)
    fake = await play_seed(cluster, SEED, names, anvil=False)
    right(fake.tally)
    assert set(fake.tally.by_row) == set(ROWS)
    some = random.Random(SEED).sample(range(len(names)), ON_ANVIL)
    real = await play_seed(cluster, SEED, [names[place] for place in some], anvil=True)
    right(real.tally)
    outcomes = [fake.tally.outcomes[place] for place in some]
    assert real.tally.outcomes == outcomes  # schedule, ends and what recipients have


def test_every_house_has_its_turn() -> None:
    assert {house_of(seed) for seed in range(len(HOUSES))} == HOUSES.keys()
    assert {house_of(10 * seed) for seed in range(len(HOUSES))} == HOUSES.keys()  # those on Anvil


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_batches_come_to_the_same_on_both_nodes(cluster: ScratchCluster) -> None:
    played = [
        await play_seed(cluster, SEED, BATCHED, anvil=anvil, house="batches of two")
        for anvil in (False, True)
    ]
    for one in played:
        right(one.tally)
        assert one.tally.batches > 1
    assert played[0].tally.outcomes == played[1].tally.outcomes


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_one_seed_is_the_same_byte_for_byte(cluster: ScratchCluster, tmp_path: Path) -> None:
    others = random.Random(SEED).sample(sorted(FAULTS.keys() - set(TWICE)), 1)
    files = [tmp_path / name for name in ("once", "again", "other")]
    once, again = [
        await play_seed(cluster, SEED, TWICE + others, anvil=False, file=file) for file in files[:2]
    ]
    print(f"seed {SEED}: log {once.digest}")
    right(once.tally)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert once.digest == again.digest
    text = files[0].read_bytes()
    for kind in (b"# ", b"> [", b"< [", b"* intent.after_sign", b"= [[", b"@ "):
        assert b"\n" + kind in text
    other = await play_seed(cluster, SEED + 1, TWICE[:1], anvil=False, file=files[2])
    assert other.digest != once.digest


def test_a_campaign_goes_on_where_its_file_ends(tmp_path: Path) -> None:
    file = tmp_path / "kept"
    asked = ["--seeds", "3", "--seed", "7", "--keep", str(file)]
    options = parser().parse_args(asked)
    assert kept(options) == []  # no file yet
    right = [{"seed": seed, "how": how(options, seed), "wrong": []} for seed in (6, 7, 9)]
    lines = [json.dumps(record) for record in [*right, {**right[1], "how": "one fault"}]]
    file.write_text("\n".join(lines) + '\n{"seed": 8, "ho')
    assert [record["seed"] for record in kept(options)] == [7, 9]
    assert kept(parser().parse_args([*asked, "--fault", FAULT])) == []  # other schedules

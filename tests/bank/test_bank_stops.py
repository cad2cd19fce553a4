"""Times in which nothing ran are told apart, and nothing else is."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from bench.campaigns.bank_house import ROOT
from bench.campaigns.stops import STOPPED_SECONDS, Stops

CHILD = """
import sys, time
from bench.campaigns.stops import Stops
with Stops() as stops:
    began = time.monotonic()
    print("watching", flush=True)
    sys.stdin.readline()
    time.sleep(0.5)
    print(stops.since(began), stops.since(time.monotonic()), flush=True)
"""


@pytest.mark.slow
def test_a_stopped_process_knows_for_how_long() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as child:  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "watching\n"
        child.send_signal(signal.SIGSTOP)
        time.sleep(STOPPED_SECONDS + 1)
        child.send_signal(signal.SIGCONT)
        child.stdin.write("\n")
        child.stdin.flush()
        lost, later = map(float, child.stdout.readline().split())
    assert lost > STOPPED_SECONDS
    assert later == 0


def test_only_what_was_lost_after_the_moment_counts() -> None:
    stops = Stops(seen=[(100.0, 5.0), (200.0, 3.0)])
    assert stops.since(201.0) == 0
    assert stops.since(199.0) == 1.0
    assert stops.since(150.0) == 3.0
    assert stops.since(0.0) == 8.0

"""Each bench still runs and says what it should; at this size its figures mean nothing."""

from __future__ import annotations

from typing import Any

import pytest

from bench import broadcast, reads, scan, signer


def _has_spread(figures: dict[str, Any], name: str) -> None:
    smallest, middle, largest = figures[f"{name}, min/median/max"]
    assert 0 < smallest <= middle <= largest
    assert figures[name] == middle


def test_signer() -> None:
    """It also compares the signer's bytes with eth-account's, and raises when one differs."""
    figures = signer.measure(rounds=1, seconds=0, batches=1)
    _has_spread(figures, "signer / eth-account")
    _has_spread(figures, "eth-account's CPU / signer's CPU")
    assert figures["signer process (per s)"] > 0


def test_broadcast_and_receipts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "SENDERS", 3)
    figures = broadcast.measure(rounds=1, seconds=0)
    for work in ("send", "receipts"):
        for peer in ("web3", "node"):
            _has_spread(figures, f"{work} ours / {work} {peer}")
            _has_spread(figures, f"{work} ours / {work} {peer}, by CPU")


def test_scan_and_matching(monkeypatch: pytest.MonkeyPatch) -> None:
    """It also counts what each side found, and fails when one found less."""
    monkeypatch.setattr(scan, "BLOCKS", 20)
    monkeypatch.setattr(scan, "MATCHED", 1_000)
    monkeypatch.setattr(scan, "LOOKED_UP", 1_000)
    figures = scan.measure(rounds=1, seconds=0)
    _has_spread(figures, "tokens ours / tokens web3 events")
    _has_spread(figures, "coins ours / coins node, by CPU")
    _has_spread(figures, "both ours / both node")


def test_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """It also checks that every page is full, and what balance a past moment had."""
    monkeypatch.setattr(reads, "SHORT", 120)
    monkeypatch.setattr(reads, "LONG", 240)
    monkeypatch.setattr(reads, "CALLS", 1)
    figures = reads.measure(rounds=1, seconds=0)
    for read in ("balances", "activity, first page", "statement of 50 lines, old"):
        for place in ("server", "database"):
            _has_spread(figures, f"{read}, {place} CPU, 240 / 120")
        assert figures[f"{read}, server CPU at 240 (ms)"] > 0

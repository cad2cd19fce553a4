"""What `./dev campaign slither` counts, on findings as slither 0.11 reports them."""

from __future__ import annotations

import pytest

from bench.campaigns import slither


def finding(impact: str, check: str = "some-check") -> dict[str, str]:
    return {"impact": impact, "check": check, "description": "It does\n\t- more lines"}


@pytest.mark.parametrize("impact", ["High", "Medium"])
def test_one_that_counts_is_not_clean(impact: str) -> None:
    lines, clean = slither.summary([finding("Low"), finding(impact, "bad")])
    assert not clean
    assert lines[0].split() == [impact, "bad:", "It", "does"]
    assert f"1 {impact.lower()}" in lines[-1]


def test_lesser_ones_are_told_and_pass() -> None:
    lines, clean = slither.summary([finding("Low"), finding("Informational")])
    assert clean and lines[-1].startswith("0 high, 0 medium, 1 low, 1 informational")


def test_without_slither_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(slither, "find", lambda: None)
    assert slither.main([]) == 2
    assert "slither is missing" in capsys.readouterr().out


def test_everything_deployed_is_looked_at() -> None:
    names = {path.name for path in slither.targets()}
    assert {"BatchPayout.sol", "DepositSweeper.sol", "ForwarderFactory.sol"} <= names
    assert not any("testing" in path.parts for path in slither.targets())

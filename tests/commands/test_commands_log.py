"""What a command logs: nothing before a refusal, everything else once it is over."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from chain.errors import NodeTimeout
from wallet.cli_log import held_back
from wallet.errors import DatabaseUnavailable, NotFound

ROOT = Path(__file__).resolve().parents[2]
House = Callable[..., Path]
REFUSED = ("treasury", "cold", "--network", "local", "--address", "0x1", "--by", "ada")


def warn() -> None:
    structlog.get_logger("operator").warning("treasury.unfreeze", by="ada")
    logging.getLogger("chain.failover").warning("local: switched to node %d", 2)


def bifold(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A process of its own: loggers that another test has used keep what they were set to."""
    return subprocess.run(
        [sys.executable, "-m", "wallet.cli", *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | settings,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_person_sees_the_refusal_and_nothing_else(house: House) -> None:
    house()
    ran = bifold(*REFUSED)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == "bifold: an address is 0x followed by 40 hexadecimal digits\n"


def test_a_level_that_is_set_shows_what_was_asked_for(house: House) -> None:
    house()
    asked, refusal = bifold(*REFUSED, BIFOLD_LOG_LEVEL="warning").stderr.splitlines()
    assert "treasury.cold" in asked and "ada" in asked
    assert refusal == "bifold: an address is 0x followed by 40 hexadecimal digits"


def test_what_was_done_is_told_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    with held_back():
        warn()
        print("It goes on.")
        assert capsys.readouterr() == ("It goes on.\n", "")
    seen = capsys.readouterr()
    done, other = seen.err.splitlines()
    assert "treasury.unfreeze" in done and "ada" in done and seen.out == ""
    assert other == "WARNING:chain.failover:local: switched to node 2"


def test_errors_do_not_wait_for_the_refusal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotFound), held_back():
        warn()
        logging.getLogger("chain.failover").error("local: serves another chain")
        structlog.get_logger("operator").error("signer.halted")
        raise NotFound("no")
    of_logging, of_structlog = capsys.readouterr().err.splitlines()
    assert of_logging == "ERROR:chain.failover:local: serves another chain"
    assert "signer.halted" in of_structlog


@pytest.mark.parametrize(
    "error", [DatabaseUnavailable("away"), NodeTimeout("late"), KeyboardInterrupt(), ValueError()]
)
def test_where_it_may_have_happened_the_line_stays(
    error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(type(error)), held_back():
        warn()
        raise error
    assert "treasury.unfreeze" in capsys.readouterr().err


def test_logging_is_left_as_it_was() -> None:
    before, handlers = structlog.get_config(), list(logging.getLogger().handlers)
    with held_back():
        pass
    assert structlog.get_config() == before
    assert logging.getLogger().handlers == handlers

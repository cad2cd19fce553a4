"""A pytest plugin: in each test the loops die the first time they pass each of some crash points.

`BIFOLD_DIE_AT` names the points, `BIFOLD_DIED` a file that gets a line for each death. Whatever the
loop had not committed is rolled back; then its next tick comes, as it would in a new process. A
request or an operator's command that dies is given once more, as a person would give it. A test
that passes like this shows that a death there loses and doubles nothing it looks at.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import crashpoints

POINTS = frozenset(os.environ["BIFOLD_DIE_AT"].split(","))
DIED = Path(os.environ["BIFOLD_DIED"])
LOOPS = (
    "wallet.deposits.scanner:Scanner.tick", "wallet.deposits.surplus:SurplusFinder.tick",
    "wallet.receivables:Collector.tick", "wallet.onchain.runner:IntentRunner.tick",
    "wallet.onchain.casework:LateWatch.tick", "wallet.onchain.network:NetworkObserver.tick",
    "wallet.selfcustody.worker:SelfCustodyWorker.tick", "wallet.sweeps.sweeper:Sweeper.tick",
    "wallet.treasury.watch:TreasuryWatch.tick", "wallet.watch.reader:BalanceReader.tick",
    "wallet.reconcile.watch:ReconcileWatch.tick", "wallet.onchain.unsent:UnsentWatch.tick",
)  # fmt: skip
REQUESTS = (
    "wallet.testing.seam:Seam.cancel", "wallet.testing.seam:Seam.speed_up",
    "wallet.testing.payments:PaymentWorld.cancel", "wallet.onchain.regained:regain",
)  # fmt: skip
"""Whole transactions that people ask for."""
COMMANDS = (
    "wallet.deposits.arrivals:approve", "wallet.deposits.bearers:approve",
    "wallet.deposits.forks:approve", "wallet.treasury.moves:approve",
    "wallet.treasury.evacuate:warm_out", "wallet.onchain.approvals:approve",
    "wallet.deposits.release:approve",
)  # fmt: skip
"""All that happens in their caller's transaction, whose first argument is its session."""


class Death(BaseException):
    """The process ends here; nothing after this line runs."""


def _again(tick: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(tick)
    async def wrapped(*given: Any, **named: Any) -> Any:
        for _ in POINTS:
            try:
                return await tick(*given, **named)
            except Death:
                continue
        return await tick(*given, **named)

    return wrapped


def _rolled_back(command: Callable[..., Any]) -> Callable[..., Any]:
    """What a death undoes of a command is undone to a savepoint: the test's transaction goes on."""

    @functools.wraps(command)
    async def wrapped(session: AsyncSession, *given: Any, **named: Any) -> Any:
        async with session.begin_nested():
            return await command(session, *given, **named)

    return wrapped


def pytest_configure() -> None:
    """Every loop gets its next tick after a death, every request is made again."""
    for place in (*LOOPS, *REQUESTS, *COMMANDS):
        module, _, path = place.partition(":")
        owner: Any = importlib.import_module(module)
        *classes, method = path.split(".")
        for name in classes:
            owner = getattr(owner, name)
        dying = getattr(owner, method)
        setattr(owner, method, _again(_rolled_back(dying) if place in COMMANDS else dying))


@pytest.fixture(autouse=True)
def dies_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """One death a test and point, at its first pass."""
    left = set(POINTS)

    def die(name: str) -> None:
        if name in left:
            left.remove(name)
            with DIED.open("a") as file:
                file.write(f"{name} {request.node.nodeid}\n")
            raise Death(name)

    crashpoints.install(die)
    yield
    crashpoints.install(None)

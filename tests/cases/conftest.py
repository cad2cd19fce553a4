"""This room's tests stand on the whole seam, or on the database alone."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tests.seam_fixtures import db, seam
from wallet import cases, cli, cli_cases, cli_held_back, cli_operator
from wallet.cases import Case
from wallet.db import Database
from wallet.testing.operators import operators_of
from wallet.testing.seam import Seam

__all__ = ["db", "seam"]
Command = Callable[..., Awaitable[int]]


async def all_cases(db: Database) -> list[Case]:
    async with db.transaction() as session:
        return await cases.listed(session, open_only=False)


async def kinds(db: Database) -> list[tuple[str, str, str]]:
    """(kind, subject, status), oldest first."""
    return [(one.kind, one.subject, one.status) for one in await all_cases(db)]


@pytest.fixture
async def bifold(
    db: Database, monkeypatch: pytest.MonkeyPatch, request: Any
) -> AsyncIterator[Command]:
    """`bifold …` as an operator types it, on this test's database (and chain, if there is one)."""
    seam: Seam | None = request.getfixturevalue("seam") if "seam" in request.fixturenames else None

    operators = operators_of(db)

    async def nothing() -> None:
        return None

    def services(*_: object, **__: object) -> Any:
        known: dict[str, Any] = {"db": operators, "aclose": nothing, "networks": {}}
        if seam is not None:
            known |= {
                "networks": {"local": seam.network}, "chains": {"local": seam.chain},
                "signer": seam.signer, "assets": seam.assets,
            }  # fmt: skip
        return SimpleNamespace(**known)

    async def run(*words: str) -> int:
        chosen: argparse.Namespace = cli._parser().parse_args(list(words))
        act: Any = {
            "cases": cli_cases.command,
            "chain": cli_operator.chain,
            "deposits": cli_held_back.command,
        }[chosen.command]
        return int(await act(None, chosen))

    monkeypatch.setattr(cli_cases, "build", services)
    monkeypatch.setattr(cli_operator, "build", services)
    monkeypatch.setattr(cli_held_back, "build", services)
    yield run
    await operators.dispose()

"""`bifold migrate`: which database it takes, and what it says where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg.errors import InsufficientPrivilege
from sqlalchemy.exc import ProgrammingError

from wallet import migrate
from wallet.cli import main
from wallet.migrate import head_revision
from wallet.settings import RUNNING_SANDBOX
from wallet.testing.databases import ScratchDatabase

NOWHERE = "postgresql+psycopg://somebody:hidden@127.0.0.1:9/x"


def running(folder: Path, database: ScratchDatabase) -> None:
    """As the supervisor writes it: the owner's address beside that of the API."""
    file = folder / RUNNING_SANDBOX
    file.parent.mkdir(parents=True)
    file.write_text(
        f"BIFOLD_MODE=sandbox\nBIFOLD_DATABASE_URL={NOWHERE}\n"
        f"BIFOLD_MIGRATION_DATABASE_URL={database.owner_url}\n"
    )


@pytest.mark.parametrize("folder", [".bifold", "elsewhere"])
def test_a_running_sandbox_is_found(
    bare: Path,
    database: ScratchDatabase,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    folder: str,
) -> None:
    running(bare / folder, database)
    if folder != ".bifold":
        monkeypatch.setenv("BIFOLD_DATA_DIR", folder)
    assert main(["migrate"]) == 0
    assert capsys.readouterr().out == f"The database is at {head_revision()}.\n"


@pytest.mark.parametrize("name", ["BIFOLD_MIGRATION_DATABASE_URL", "BIFOLD_DATABASE_URL"])
def test_what_the_environment_says_comes_first_and_one_that_is_away_is_told(
    bare: Path,
    database: ScratchDatabase,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    running(bare / ".bifold", database)
    monkeypatch.setenv(name, NOWHERE)
    assert main(["migrate"]) == 1
    seen = capsys.readouterr()
    assert seen.err.startswith("bifold: the database cannot be reached: ")
    assert seen.err.count("\n") == 1 and "hidden" not in seen.err and seen.out == ""


def test_without_either_it_says_what_to_set(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate"]) == 1
    told = capsys.readouterr().err
    assert "BIFOLD_MIGRATION_DATABASE_URL" in told and "./dev run" in told


def test_another_role_is_told_whose_it_must_be(
    bare: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_url: str) -> None:
        raise ProgrammingError("CREATE TABLE t ()", {}, InsufficientPrivilege("no"))

    monkeypatch.setattr(migrate, "upgrade", refused)
    monkeypatch.setenv("BIFOLD_DATABASE_URL", NOWHERE)
    assert main(["migrate"]) == 1
    told = capsys.readouterr().err
    assert "the owner's role" in told and "CREATE" not in told and told.count("\n") == 1

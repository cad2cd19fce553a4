"""A malformed address of the database: one line that names the setting, and nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from api import server
from wallet.auditor import __main__ as auditor
from wallet.auditor import address
from wallet.cli import main
from wallet.database_url import fault
from wallet.sandbox.config import SandboxConfig, SandboxError

HIDDEN = "hiddenword"
MALFORMED = {
    "hiddenword": "does not begin with postgresql+psycopg://",
    f"mysql://u:{HIDDEN}@h/d": "does not begin with postgresql+psycopg://",
    f"postgresql+psycopg//u:{HIDDEN}@h/d": "does not begin with postgresql+psycopg://",
    f"postgresql+psycopg://u:{HIDDEN}@/d": "names no host",
    f"postgresql+psycopg://u:{HIDDEN}@/d?host=": "names no host",
    "postgresql+psycopg://": "names no host",
    f"postgresql+psycopg://u:{HIDDEN}@h:abc/d": "has no port from 1 to 65535",
    f"postgresql+psycopg://u:{HIDDEN}@h:0/d": "has no port from 1 to 65535",
    f"postgresql+psycopg://u:{HIDDEN}@h:65536/d": "has no port from 1 to 65535",
    f"postgresql+psycopg://u:{HIDDEN}": "has no port from 1 to 65535",
    f"postgresql+psycopg://u:x@{HIDDEN}@h:5432/d": "has one @ too many",
    f"postgresql+psycopg://u:x@y/{HIDDEN}@h/d": "has one @ too many",
}
GOOD = (
    "postgresql+psycopg://u:p%40ss@h:5432/d",
    "postgresql+psycopg://h/d",
    "postgresql://u@[::1]:5432/d?connect_timeout=5",
    "postgresql+psycopg://u@/d?host=%2Frun%2Fpostgresql",
    "postgresql+psycopg://u@/d?application_name=x&host=/run/postgresql",
)
EVERY = pytest.mark.parametrize(("url", "why"), MALFORMED.items())


def one_line(told: str, name: str, why: str) -> None:
    assert told.count("\n") == 1, told
    assert f"{name} {why}" in told
    assert HIDDEN not in told


@EVERY
@pytest.mark.parametrize("command", ["serve", "worker", "migrate", "cases", "audit"])
def test_it_is_told_in_one_line(
    bare: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    url: str,
    why: str,
) -> None:
    name = "BIFOLD_AUDIT_DATABASE_URL" if command == "audit" else "BIFOLD_DATABASE_URL"
    monkeypatch.setenv("BIFOLD_MODE", "sandbox")
    monkeypatch.setenv(name, url)
    match command:
        case "audit":  # its 1 always means breaks
            assert auditor.main([]) == 2
        case "serve":
            assert server.main() == 1
        case "cases":
            assert main(["cases", "list"]) == 1
        case _:
            assert main([command]) == 1
    one_line(capsys.readouterr().err, name, why)


@pytest.mark.parametrize("which", ["DIRECT_", "MIGRATION_", "OPERATOR_", "AUDIT_"])
def test_the_one_that_is_wrong_is_named(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], which: str
) -> None:
    name = f"BIFOLD_{'DATABASE_DIRECT' if which == 'DIRECT_' else which + 'DATABASE'}_URL"
    monkeypatch.setenv("BIFOLD_MODE", "sandbox")
    monkeypatch.setenv("BIFOLD_DATABASE_URL", GOOD[0])
    monkeypatch.setenv(name, f"postgresql+psycopg://u:{HIDDEN}@/d")
    assert main(["migrate" if which == "MIGRATION_" else "worker"]) == 1
    one_line(capsys.readouterr().err, name, "names no host")


@pytest.mark.parametrize("command", [("cases", "list"), ("treasury", "status"), ("migrate",)])
def test_where_nobody_serves_it_says_so_and_why(
    house: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
) -> None:
    """A wrong host, name or role stays wrong: that is no reason to try again in a moment."""
    house()
    monkeypatch.setenv("BIFOLD_DATABASE_URL", f"postgresql+psycopg://u:{HIDDEN}@127.0.0.1:9/d")
    assert main(list(command)) == 1
    told = capsys.readouterr().err
    assert told.startswith("bifold: the database cannot be reached: ") and "port 9" in told
    assert told.count("\n") == 1 and HIDDEN not in told


@pytest.mark.parametrize("sandbox", [False, True])
def test_operators_need_theirs_alone(
    house: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sandbox: bool,
) -> None:
    """Also where a sandbox runs: who names a database means that one."""
    folder = house()
    if sandbox:
        (folder / "sandbox").mkdir()
        lines = ("BIFOLD_MODE=sandbox", f"BIFOLD_DATABASE_URL={GOOD[1]}")
        (folder / "sandbox" / "environment").write_text("\n".join(lines))
    monkeypatch.delenv("BIFOLD_DATABASE_URL")
    monkeypatch.setenv("BIFOLD_OPERATOR_DATABASE_URL", "postgresql+psycopg://o@127.0.0.1:9/d")
    assert main(["cases", "list"]) == 1
    assert "port 9" in capsys.readouterr().err


def test_the_sandbox_says_so_too() -> None:
    for url, why in MALFORMED.items():
        with pytest.raises(SandboxError, match=r"^BIFOLD_DATABASE_URL ") as refused:
            SandboxConfig.from_env({"BIFOLD_DATABASE_URL": url})
        assert why in str(refused.value) and HIDDEN not in str(refused.value)


def test_one_that_is_needed_is_not_empty(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BIFOLD_MODE", "sandbox")
    monkeypatch.setenv("BIFOLD_DATABASE_URL", "")
    monkeypatch.setenv("BIFOLD_OPERATOR_DATABASE_URL", "")
    assert main(["worker"]) == 1
    told = capsys.readouterr().err
    one_line(told, "BIFOLD_DATABASE_URL", "does not begin with")
    assert "OPERATOR" not in told


@pytest.mark.parametrize("url", GOOD)
def test_what_can_be_meant_is_taken(url: str) -> None:
    assert (fault(url), address.fault(url)) == (None, None)

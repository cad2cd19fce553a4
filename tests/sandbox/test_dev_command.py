"""`./dev`: one door, plain lines, and a `clean` that removes only what the sandbox made."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import BENCHES
from bench.campaigns.__main__ import CAMPAIGNS, main

ROOT = Path(__file__).resolve().parents[2]
DEV = ROOT / "dev"


def dev(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, DEV, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


class TestWords:
    def test_help_names_every_command(self) -> None:
        said = dev("help").stdout
        for command in ("run", "demo", "test", "check", "bench", "campaign", "clean", "db-upgrade"):
            assert re.search(rf"^  {command}\b", said, re.MULTILINE), command

    def test_bench_says_what_each_part_measures_and_loads_none(self) -> None:
        code = (
            "import sys; from bench.__main__ import main\n"
            "try: main(['--help'])\n"
            "except SystemExit: pass\n"
            "print(sorted({'web3', 'sqlalchemy', 'fastapi', 'wallet'} & sys.modules.keys()))"
        )
        said = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
        ).stdout
        for name in BENCHES:
            assert re.search(rf"^  {name} +[A-Z][^\n]{{30,}}[.]$", said, re.MULTILINE), name
        assert said.endswith("[]\n")

    def test_an_unknown_command_is_refused(self) -> None:
        result = dev("rum")
        assert result.returncode == 1
        assert "no command 'rum'" in result.stderr
        assert "Traceback" not in result.stderr

    @pytest.mark.parametrize("command", ["run", "check", "clean", "db-upgrade"])
    def test_asking_a_command_for_help_starts_nothing(self, command: str, tmp_path: Path) -> None:
        result = dev(command, "--help", BIFOLD_DATA_DIR=str(tmp_path))
        assert (result.returncode, result.stdout) == (0, dev("help").stdout)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("command", ["run", "check", "db-upgrade"])
    def test_what_a_command_does_not_take_is_refused(self, command: str, tmp_path: Path) -> None:
        result = dev(command, "--port=1", BIFOLD_DATA_DIR=str(tmp_path))
        assert (result.returncode, result.stdout) == (1, "")
        assert f"./dev {command} takes no arguments" in result.stderr

    def test_an_old_python_can_read_far_enough_to_say_no(self) -> None:
        """The version check runs only where the whole file parses."""
        ast.parse(DEV.read_text("utf-8"), feature_version=(3, 8))

    def test_it_uses_the_standard_library_only(self) -> None:
        tree = ast.parse(DEV.read_text("utf-8"))
        names = {
            alias.name.split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        } | {
            (node.module or "").split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
        }
        assert names <= set(sys.stdlib_module_names)


class TestCampaigns:
    def test_help_tells_what_each_is_for(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--help"]) == 0
        said = capsys.readouterr().out
        for name in ("crash", *CAMPAIGNS):
            assert re.search(rf"^  {name} +\S.*\.$", said, re.MULTILINE), name

    def test_an_unknown_name_is_said(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["reorg"]) == 2
        said = capsys.readouterr().err
        assert "no campaign 'reorg'" in said
        assert "reorgs" in said


class TestClean:
    def test_it_removes_the_sandbox_and_leaves_the_rest(self, tmp_path: Path) -> None:
        for name in ("postgres", "anvil", "vault", "photos"):
            (tmp_path / name).mkdir()
        for name in ("keys.json", "networks.toml", "letter.txt"):
            (tmp_path / name).write_text("x")
        result = dev("clean", BIFOLD_DATA_DIR=str(tmp_path))
        assert result.returncode == 0
        assert sorted(path.name for path in tmp_path.iterdir()) == ["letter.txt", "photos"]

    def test_it_does_not_follow_a_link_out(self, tmp_path: Path) -> None:
        outside, data = tmp_path / "outside", tmp_path / "data"
        outside.mkdir()
        data.mkdir()
        (outside / "kept.txt").write_text("x")
        (data / "postgres").symlink_to(outside)
        assert dev("clean", BIFOLD_DATA_DIR=str(data)).returncode == 0
        assert (outside / "kept.txt").exists()

    def test_nothing_there_is_no_error(self, tmp_path: Path) -> None:
        result = dev("clean", BIFOLD_DATA_DIR=str(tmp_path / "none"))
        assert result.returncode == 0
        assert "nothing to remove" in result.stdout

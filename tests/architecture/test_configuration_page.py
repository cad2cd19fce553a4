"""docs/configuration.md lists every setting the code reads, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from wallet.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = re.compile(r"BIFOLD_[A-Z][A-Z_]*[A-Z]")


def documented() -> set[str]:
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `BIFOLD_")]
    return {name for row in rows for name in VARIABLE.findall(row)}


def test_every_setting_is_on_the_page() -> None:
    assert {f"BIFOLD_{name.upper()}" for name in Settings.model_fields} - documented() == set()


def test_every_variable_on_the_page_is_read_somewhere() -> None:
    read = {f"BIFOLD_{name.upper()}" for name in Settings.model_fields}
    for folder in ("wallet", "api", "keys", "chain", "tests"):
        for file in (ROOT / folder).rglob("*.py"):
            read |= set(VARIABLE.findall(file.read_text("utf-8")))
    read |= set(VARIABLE.findall((ROOT / "dev").read_text("utf-8")))
    assert documented() - read == set()


def test_the_defaults_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    for name in ("host", "port", "admin_port", "data_dir", "log_level"):
        row = next(
            line for line in page.splitlines() if line.startswith(f"| `BIFOLD_{name.upper()}`")
        )
        assert f"`{Settings.model_fields[name].default}`" in row.split("|")[2]

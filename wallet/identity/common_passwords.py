"""Passwords and stems that guessing starts with: lower case, trailing digits cut off."""

from __future__ import annotations

from importlib import resources

COMMON: frozenset[str] = frozenset(
    resources.files("wallet.identity").joinpath("common_passwords.txt").read_text("utf-8").split()
)

"""`bifold treasury`: the only network need not be named; of several, one must."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from wallet.cli import main

House = Callable[..., Path]
COLD = ("treasury", "cold", "--address", "0x1", "--by", "ada")
NO_ADDRESS = "bifold: an address is 0x followed by 40 hexadecimal digits\n"


@pytest.mark.parametrize(
    ("networks", "told", "says"),
    [
        (("local",), (), NO_ADDRESS),  # as far as the action itself
        (("local",), ("--network", "local"), NO_ADDRESS),
        (("base", "local"), ("--network", "base"), NO_ADDRESS),
        (
            ("local", "base"), (),
            "bifold: Say which network with --network: there are base, local.\n",
        ),
        (
            ("local", "base"), ("--network", "main"),
            "bifold: There is no network main here; there are base, local.\n",
        ),
        (
            ("local",), ("--network", "main"),
            "bifold: There is no network main here; there is local.\n",
        ),
    ],
)  # fmt: skip
def test_which_network(
    house: House,
    capsys: pytest.CaptureFixture[str],
    networks: tuple[str, ...],
    told: tuple[str, ...],
    says: str,
) -> None:
    house(*networks)
    assert main([*COLD, *told]) == 1
    assert capsys.readouterr().err == says

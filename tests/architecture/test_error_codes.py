"""Each error of the domain has one stable code of its own, and HTTP knows every one of them."""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import re

import pytest

import api
import chain
import keys
import wallet
from chain.errors import ChainError
from keys.errors import KeysError
from wallet.errors import WalletError

CODE = re.compile(r"[a-z][a-z0-9_]{2,60}\Z")
# Programs, not libraries: importing them would run them.
PROGRAMS = re.compile(r"(\.__main__|^wallet\.migrations\.)")


def load_everything() -> None:
    for package in (chain, keys, wallet, api):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not PROGRAMS.search(module.name):
                importlib.import_module(module.name)


def family(base: type[Exception]) -> set[type[Exception]]:
    below = {inner for child in base.__subclasses__() for inner in family(child)}
    return {base, *below}


@pytest.fixture(scope="module")
def errors() -> list[type[Exception]]:
    load_everything()
    found = family(WalletError) | family(ChainError) | family(KeysError)
    roots = {package.__name__ for package in (chain, keys, wallet, api)}
    return sorted(
        (error for error in found if error.__module__.split(".")[0] in roots),
        key=lambda error: error.__qualname__,
    )


def test_every_error_is_well_coded(errors: list[type[Exception]]) -> None:
    odd = {error.__qualname__: getattr(error, "code", None) for error in errors}
    assert {name: code for name, code in odd.items() if not CODE.match(str(code))} == {}


def test_no_two_errors_share_a_code(errors: list[type[Exception]]) -> None:
    """A code may be said by a base class and refined by its children, by nobody else."""
    own = [error for error in errors if issubclass(error, WalletError) and "code" in vars(error)]
    shared = [
        (one.__qualname__, other.__qualname__, one.__dict__["code"])
        for one, other in itertools.combinations(own, 2)
        if one.__dict__["code"] == other.__dict__["code"]
        and not issubclass(one, other)
        and not issubclass(other, one)
    ]
    assert shared == []


def test_every_wallet_error_has_a_status(errors: list[type[Exception]]) -> None:
    table = importlib.import_module("api.errors").STATUS
    codes = {
        error.__dict__["code"]
        for error in errors
        if issubclass(error, WalletError) and "code" in vars(error)
    }
    assert codes - set(table) == set()

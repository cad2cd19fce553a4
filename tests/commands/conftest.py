"""A house of files only: commands that get as far as these are refused before any connection."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chain.registry import dump_networks
from keys import derivation
from keys import mnemonic as bip39
from keys.public import PublicKeys, write_public
from keys.secret import SecretText
from tests.chain.benches import local_network

WORDS = "test test test test test test test test test test test junk"


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder as the working directory, and no setting."""
    for name in os.environ:
        if name.startswith("BIFOLD_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def house(bare: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Settings, `keys.json` and the networks that are named; a database that nobody serves."""

    def make(*networks: str) -> Path:
        seed = bip39.to_seed(SecretText(WORDS))
        xpub = derivation.account_xpub(seed, derivation.DEPOSIT_ACCOUNT)
        hot = derivation.address_of(derivation.derive_key(seed, derivation.path(0, 0)))
        write_public(
            bare / "keys.json", PublicKeys(xpub, derivation.fingerprint(xpub), (hot,), None)
        )
        known = {
            name: replace(local_network(), name=name, chain_id=31337 + number)
            for number, name in enumerate(networks or ("local",))
        }
        dump_networks(bare / "networks.toml", known)
        monkeypatch.setenv("BIFOLD_MODE", "sandbox")
        monkeypatch.setenv("BIFOLD_DATA_DIR", str(bare))
        monkeypatch.setenv("BIFOLD_DATABASE_URL", "postgresql+psycopg://x@127.0.0.1:9/x")
        return bare

    return make

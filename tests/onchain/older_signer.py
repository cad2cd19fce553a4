"""A signer of before it told what its journal knows, which refuses all the same; and a node that
says nothing of its pool."""

from __future__ import annotations

import pytest

from chain.errors import NodeRejected
from wallet.testing.seam import Seam


def silent(seam: Seam, monkeypatch: pytest.MonkeyPatch) -> None:
    """This seam's signer is one; so is any that keeps no journal."""

    async def nothing(*_: object, **__: object) -> list[object]:
        return []

    monkeypatch.setattr(seam.signer, "signed_before", nothing)
    monkeypatch.setattr(seam.signer, "signed_from", nothing)


def no_pool(seam: Seam, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosted nodes often do not answer `pending`."""

    async def nothing_of_it(_: str) -> int:
        raise NodeRejected(-32000, "no pending state")

    monkeypatch.setattr(seam.chain, "nonce_in_pool", nothing_of_it)

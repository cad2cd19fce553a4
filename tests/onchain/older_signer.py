"""A signer of before it told what its journal knows: it refuses all the same."""

from __future__ import annotations

import pytest

from wallet.testing.seam import Seam


def silent(seam: Seam, monkeypatch: pytest.MonkeyPatch) -> None:
    """This seam's signer is one; so is any that keeps no journal."""

    async def nothing(*_: object, **__: object) -> list[object]:
        return []

    monkeypatch.setattr(seam.signer, "signed_before", nothing)
    monkeypatch.setattr(seam.signer, "signed_from", nothing)

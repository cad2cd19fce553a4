"""How a worker begins while its database is away, as after both were started together."""

from __future__ import annotations

from typing import Any, cast

import pytest

from wallet import worker
from wallet.bootstrap import RefusedToStart, Services
from wallet.errors import DatabaseUnavailable


class Away:
    """Services whose database comes at the `comes`th look, and says no to the networks file."""

    def __init__(self, comes: int) -> None:
        self.comes, self.looks = comes, 0

    async def learn_assets(self) -> None:
        self.looks += 1
        if self.looks < self.comes:
            raise DatabaseUnavailable("away")
        raise RefusedToStart("other decimals")


async def test_it_waits_for_its_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ended at once: whoever started it anew gave up after some of these."""
    monkeypatch.setattr(worker, "LEARN_SECONDS", 0.01)
    away = Away(comes=3)
    with pytest.raises(RefusedToStart):
        await worker.run(cast(Services, cast(Any, away)))
    assert away.looks == 3


async def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LEARN_SECONDS", 0.01)
    monkeypatch.setattr(worker, "PATIENCE_SECONDS", 0.05)
    away = Away(comes=10_000)
    with pytest.raises(DatabaseUnavailable):
        await worker.run(cast(Services, cast(Any, away)))
    assert 1 < away.looks < 10

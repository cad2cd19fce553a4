"""What the tests of `keys` share."""

from __future__ import annotations

from pathlib import Path

import pytest

from keys.kdf import KdfCost


@pytest.fixture
def light() -> KdfCost:
    """The cheapest argon2id a vault allows; one test measures the real one."""
    return KdfCost(memory_kib=8 * 1024, passes=1, lanes=1)


@pytest.fixture
def runtime_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a path short enough for a unix socket."""
    return tmp_path_factory.mktemp("s")

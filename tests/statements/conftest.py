"""The pages' tests stand on the whole app in this process."""

from __future__ import annotations

from tests.api.conftest import node, world

__all__ = ["node", "world"]

"""The API's world, as its own tests have it."""

from __future__ import annotations

from tests.api.conftest import World, node, observed, world

__all__ = ["World", "node", "observed", "world"]

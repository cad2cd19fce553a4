"""The API's world over a fake node, and the seam over a real one."""

from __future__ import annotations

from tests.api.conftest import World, node, observed, world
from tests.seam_fixtures import db, seam

__all__ = ["World", "db", "node", "observed", "seam", "world"]

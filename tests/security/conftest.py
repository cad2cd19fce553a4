"""The API's world and the chain's seam, as their own rooms' tests have them."""

from __future__ import annotations

from tests.api.conftest import World, node, observed, world
from tests.seam_fixtures import db, seam

__all__ = ["World", "db", "node", "observed", "seam", "world"]

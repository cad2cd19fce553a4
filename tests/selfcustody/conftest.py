"""One module of this room stands on the whole seam."""

from __future__ import annotations

from tests.seam_fixtures import db
from tests.selfcustody.own_person import ada

__all__ = ["ada", "db"]
